"""The log of a run on the screen: a file of any size, read where it is looked at."""
