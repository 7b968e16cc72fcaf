"""The families of story models: each has an adapter that maps its names and shapes to the one decoder."""
