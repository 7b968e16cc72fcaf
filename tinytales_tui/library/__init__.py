"""The library: every story with its whole tree, kept in one SQLite file. Knows no Textual and no torch; imported when it is needed."""
