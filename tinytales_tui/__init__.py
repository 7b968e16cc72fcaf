"""What people see of tinytales-tui: the Textual app, the command line and batch mode. Importing this imports nothing else."""
