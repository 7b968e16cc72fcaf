"""The page of the Write pane: the story as it is written, read and edited."""
