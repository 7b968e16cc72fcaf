"""Trying checkpoints out without leaving the list: one sample in place, or two side by side, on an engine of their own."""
