"""The Train pane: runs, their curves, their stories, their logs, and what can be done to them."""
