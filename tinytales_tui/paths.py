"""Every place the program writes to, in one file; `$TINYTALES_HOME` moves them all. Knows no Textual.

The functions only name places; whoever writes makes the folder (`ensure`).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path


def data_folder() -> Path:
    """The folder under which everything of our own lies."""
    home = os.environ.get("TINYTALES_HOME", "").strip()
    if home:
        return Path(os.path.expanduser(home)).absolute()  # noqa: PTH111 (Path.expanduser raises for an unknown ~name)
    import platformdirs

    return Path(platformdirs.user_data_dir("tinytales-tui", appauthor=False))


def settings_file() -> Path:
    return data_folder() / "settings.json"


def autosave_folder() -> Path:
    return data_folder() / "autosave"


def stories_folder() -> Path:
    """Where stories are saved unless a person names another place."""
    return data_folder() / "stories"


def library_file() -> Path:
    """The library of all stories (`tinytales_tui.library`); files that belong to it stand beside it."""
    return data_folder() / "stories.db"


def runs_folder() -> Path:
    return data_folder() / "runs"


def data_sets_folder() -> Path:
    """Where prepared data lie, a folder each."""
    return data_folder() / "data"


def checkpoint_notes() -> Path:
    """What a person chose about checkpoints (`engine.catalog.notes`)."""
    return data_folder() / "checkpoints.json"


def checkpoint_facts() -> Path:
    """What the headers of checkpoints told, so that they are read once."""
    return data_folder() / "cache" / "checkpoint-facts.json"


def download_history() -> Path:
    return data_folder() / "downloads.jsonl"


def in_use_folder() -> Path:
    """Which process holds which checkpoint (`engine.catalog.holding`)."""
    return data_folder() / "in-use"


def logs_folder() -> Path:
    return data_folder() / "logs"


def worker_log() -> Path:
    """What engine workers said on standard error."""
    return logs_folder() / "worker.log"


def warm_socket() -> Path | None:
    """Where an engine that was left running listens; None where the system has no such sockets."""
    from engine.warm import place

    return place.socket_path(data_folder()) if place.available() else None


def last_copy_file() -> Path:
    """The text that was last copied, for terminals that let no program near their clipboard."""
    return data_folder() / "last_copy.txt"


def ensure(folder: Path) -> Path:
    """`folder`, made if it was not there (OSError if it cannot be)."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def shown(path: Path) -> str:
    """A path as a person reads it, with ~ for the home folder."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)


_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your share of the disk is used up",
    errno.EACCES: "you have no permission",
    errno.EPERM: "you have no permission",
    errno.EROFS: "the disk is read-only",
    errno.ENOENT: "the folder does not exist or takes no files",
    errno.EEXIST: "a file is in the way",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EIO: "the disk reported an error",
    errno.EFBIG: "it is larger than files may be there",
}


def reason(error: OSError) -> str:
    """Why the system refused to read or write, in a few plain words."""
    return _REASONS.get(error.errno or 0, (error.strerror or "the system refused").lower())
