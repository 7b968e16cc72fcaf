"""The Write pane: ask for a story, watch it being written, keep it."""
