"""The curves of the Train pane: what is drawn, how it is looked at, and the widgets that show it."""
