"""The whole story at once: all its branches, with what was noted about them."""
