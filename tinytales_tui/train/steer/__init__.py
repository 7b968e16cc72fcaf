"""What can be done to runs from the Train pane, and the questions before it."""
