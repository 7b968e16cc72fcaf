"""Two to four stories side by side, from one question and one seed, that differ in one thing: the desk opens this, one is kept."""
