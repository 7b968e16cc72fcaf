"""The health of the machine that trains, on the screen."""
