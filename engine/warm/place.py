"""Where the socket of the warm engine lies: a folder of the owner's alone, by a name that is the same for the same installation.

Two environments that would find other files under the same name (another data folder, another Hub cache) have engines of their own.
Knows no torch.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from engine.version import __version__

LONGEST = 100
"""Bytes of a socket's path; the system takes 108, or 104."""
_DECIDES = ("HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "XDG_CACHE_HOME", "CUDA_VISIBLE_DEVICES")
"""Variables that decide what a checkpoint's name stands for, or on what it runs."""


def available() -> bool:
    """Whether this system has Unix sockets."""
    import socket

    return hasattr(socket, "AF_UNIX") and sys.platform != "win32"


def socket_path(data_folder: Path) -> Path:
    """The socket for this installation, data folder and environment. Makes nothing."""
    parts = [str(data_folder), sys.prefix, __version__, *(f"{name}={os.environ.get(name, '')}" for name in _DECIDES)]
    name = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    mine = f"tinytales-tui-{os.getuid()}"
    folders = [Path(runtime) / "tinytales-tui"] if runtime and _is_mine(Path(runtime)) else []
    folders += [Path(tempfile.gettempdir()) / mine, Path("/tmp") / mine]
    found = [folder / f"{name}.sock" for folder in folders]
    return next((path for path in found if len(os.fsencode(path)) <= LONGEST), found[-1])


def make_folder(path: Path) -> None:
    """Make the socket's folder for the owner alone; raises OSError, also where it belongs to somebody else."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_mine(path.parent):
        raise PermissionError(f"{path.parent} belongs to somebody else")
    path.parent.chmod(0o700)


def may_be_trusted(path: Path) -> bool:
    """Whether a socket lies there that nobody but us can have put there."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid() and _is_mine(path.parent)


def _is_mine(folder: Path) -> bool:
    """A real folder of ours that nobody else can write to."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
