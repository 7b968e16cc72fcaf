"""The Checkpoints pane: everything that can be written with, here and on the Hub, and what a person does with it."""
