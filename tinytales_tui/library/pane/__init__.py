"""The Library pane: all stories on the screen, found, looked at, marked, put away, and given out. Imported when it is opened."""
