"""The reading view: a story alone on the screen, a page at a time, and read aloud. It knows no library and no engine's worker."""
