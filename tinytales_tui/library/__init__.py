"""The library: every story with its whole tree, kept in one SQLite file. Imported when it is needed.

Knows no torch, and but for its pane no Textual.
"""
