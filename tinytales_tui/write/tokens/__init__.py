"""The token cursor: what the model thought at each word, and how the story goes on from another choice."""
