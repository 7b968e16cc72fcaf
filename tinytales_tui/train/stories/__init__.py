"""The stories that a run wrote along the way, on the screen."""
