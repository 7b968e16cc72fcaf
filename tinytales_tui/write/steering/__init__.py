"""Where a story is to go: words that it must not, should and must have, what ends it, and where it stands meanwhile."""
