"""Following training runs while they are written, for any number of viewers. Knows no torch and no screen."""
