"""Widgets that more than one pane may use. Each shows values and posts messages; none computes, none knows the engine."""
