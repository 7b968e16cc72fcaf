"""News of runs: what is worth telling, and how it is told."""
