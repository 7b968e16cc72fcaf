"""The one exception that a person is meant to read.

Whatever is raised as a `TinyTalesError` carries one plain sentence that says what was wrong and what to do about it. The command
line prints it, the worker sends it, the screen shows it; nothing of it is a traceback. Knows no torch.
"""


class TinyTalesError(Exception):
    """A failure that a person can act on; `str(error)` is the whole message."""


class UsageError(TinyTalesError):
    """What was asked for cannot be done as it was asked (exit code 2)."""


class CheckpointError(TinyTalesError):
    """A checkpoint is missing, damaged or of a kind that cannot be read (exit code 1)."""


class NetworkError(TinyTalesError):
    """The network said no; the same call may go through later (exit code 3)."""
