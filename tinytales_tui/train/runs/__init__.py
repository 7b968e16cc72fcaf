"""The list of runs on the screen."""
