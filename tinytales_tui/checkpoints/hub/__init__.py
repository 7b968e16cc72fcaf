"""The Hub in the Checkpoints pane: searching it, what a download would fetch, and the downloads under way."""
