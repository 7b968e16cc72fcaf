"""Starting a run from a form: every training setting, what the run would take, and the command line that does the same."""
