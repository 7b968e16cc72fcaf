"""From story sources to prepared data: what can be asked for, and whether a folder may be used for it.

`prepare` returns finished data at once, goes on with unfinished ones, and never mixes what was begun with something else. The work
itself is in `engine.data.preparation`. Knows no torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engine.checkpoints.glance import folder_of
from engine.data.ledger import Ledger
from engine.data.preparation import Preparation
from engine.data.progress import Progress, Report
from engine.data.records import Divide
from engine.data.shards import MANIFEST, TOKENIZER, UNFINISHED, Shards, is_prepared
from engine.data.sources import ReadingOptions, Source, open_sources
from engine.errors import CheckpointError, NetworkError, UsageError
from engine.growing_files import read_json
from engine.settings import JsonRoundTrip
from engine.tokenizer import BytePairTokenizer, GPT2Tokenizer, Tokenizer, tokenizer_sha256

__all__ = ["PrepareSettings", "Progress", "erase", "open_tokenizer", "prepare"]

LOCK = ".lock"

Say = Callable[[str], None]


@dataclass(frozen=True)
class PrepareSettings(JsonRoundTrip):
    """All that decides what prepared data hold, beside the sources' contents."""

    sources: tuple[str, ...]
    """Files, folders, globs, Hub data sets or `storybook:COUNT:SEED`, as `engine.data.sources` takes them."""
    tokenizer: str = "gpt2"
    """`gpt2`, `bpe` (learnt from these stories), or the path of a tokenizer.json or of a folder that holds one."""
    vocab_size: int = 4096
    """Size of a vocabulary that is learnt."""
    validation_share: float = 0.01
    """Share of the stories that is held out."""
    seed: int = 1
    """Decides which stories are held out, and how guesses are worded."""
    guess: bool = False
    """Guess topics and endings of plain stories, where enough stories have them to learn from."""
    text_field: str | None = None
    """The column with the story; None finds it."""
    divide: Divide = "auto"
    """What stands between two stories of a text file."""
    unique: bool = True
    """Keep only the first of equal stories."""
    shard_tokens: int = 1 << 24
    """Tokens a shard may hold."""
    skip_bad: bool = False
    """Leave out what cannot be read and count it, rather than stop."""

    def __post_init__(self) -> None:
        if isinstance(self.sources, str) or not self.sources or not all(isinstance(s, str) and s.strip() for s in self.sources):
            raise UsageError("Name at least one source of stories: a file, a folder, a Hub data set or storybook.")
        self.reading()
        for name, least, most in (("vocab_size", 257, 1 << 20), ("seed", 0, 2**63 - 1), ("shard_tokens", 1, 1 << 40)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise UsageError(f"{name.replace('_', '-')} must be a whole number from {least:,} to {most:,}, not {value!r}.")
        share = self.validation_share
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 0.5:
            raise UsageError(f"validation-share must lie between 0 and 0.5, and {share!r} does not.")

    def reading(self) -> ReadingOptions:
        """How the sources are read; `UsageError` where that makes no sense."""
        return ReadingOptions(self.text_field, self.divide, self.skip_bad)


def prepare(
    settings: PrepareSettings,
    folder: Path,
    say: Say = lambda line: None,
    tokenizer: Tokenizer | None = None,
    progress: Report | None = None,
) -> Shards:
    """Prepare the sources into `folder`, or go on with that, or return at once what is finished there.

    A `tokenizer` that is handed in wins over `settings.tokenizer`. `say` gets short lines for a person, `progress` figures a few
    times a second. Raises `UsageError` for sources that cannot be used, for a folder that holds something else or is being prepared
    by another process, and where settings or sources are not those that the folder was begun with; `NetworkError` for the Hub.
    """
    sources = open_sources(settings.sources, settings.reading())
    known = _known(folder)
    if len(sources) > 1:
        # Labels win over the same story without them. What is finished says in which order it was read.
        order = list(known) if {source.name for source in sources} == set(known) else None
        sources.sort(key=lambda source: order.index(source.name) if order else not source.labelled())
    tokenizer = tokenizer or (None if settings.tokenizer == "bpe" else open_tokenizer(settings.tokenizer))
    head = _head(settings, sources, tokenizer, known, say)
    if is_prepared(folder):
        return _finished(folder, head)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, timeout=0):
            if is_prepared(folder):  # by another process, just now
                return _finished(folder, head)
            ledger = _ledger(folder, head, say)
            Preparation(settings, folder, sources, tokenizer, ledger, say, progress).run()
            return Shards.open(folder)
    except Timeout as error:
        raise UsageError(f"Another process is preparing data in {folder} at this moment.") from error
    except FileExistsError as error:
        raise UsageError(f"{folder} is a file; prepared data need a folder.") from error
    except (PermissionError, NotADirectoryError) as error:
        raise UsageError(f"Data cannot be prepared in {folder}: you have no permission to write there.") from error


def erase(folder: Path) -> None:
    """Remove prepared data, finished or not; files of others in the folder stay, and then so does it (`UsageError` if it is neither)."""
    if not (is_prepared(folder) or (folder / UNFINISHED).exists()):
        raise UsageError(f"{folder} does not look like prepared data, so nothing in it is deleted.")
    try:
        with FileLock(folder / LOCK, timeout=0):
            (folder / MANIFEST).unlink(missing_ok=True)  # first of all: what is left no longer passes for whole
            for path in [*folder.iterdir()]:
                if _is_ours(path):
                    path.unlink(missing_ok=True)
    except Timeout as error:
        raise UsageError(f"Another process is preparing data in {folder} at this moment.") from error
    (folder / LOCK).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _is_ours(path: Path) -> bool:
    shard = path.name.startswith(("train-", "valid-")) and path.name.removesuffix(".part").endswith((".bin", ".idx"))
    return shard or path.name in (MANIFEST, TOKENIZER) or path.name.startswith(UNFINISHED)


def open_tokenizer(name: str) -> Tokenizer:
    """The tokenizer with a name: gpt2, a tokenizer.json, or that of a checkpoint; raises `UsageError` where there is none."""
    if name == "gpt2":
        return GPT2Tokenizer()
    path = Path(name).expanduser()
    folder = folder_of(name) if name == "default" or path.is_dir() else None
    if folder and (read_json(folder / "tinytales.json") or {}).get("tokenizer") == "gpt2":
        return GPT2Tokenizer()  # the tokenizer.json beside it is for other programs
    path = folder / TOKENIZER if folder else path
    if not path.is_file():
        raise UsageError(f"There is no tokenizer {name}: say gpt2, bpe, or name a tokenizer.json or a folder that holds one.")
    try:
        return BytePairTokenizer.load(path)
    except CheckpointError as error:
        raise UsageError(str(error)) from error


def _known(folder: Path) -> dict[str, str]:
    """The sources of finished data in their order: name → fingerprint."""
    if not is_prepared(folder):
        return {}
    try:
        return {source["name"]: source["sha256"] for source in Shards.open(folder).manifest["sources"]}
    except (KeyError, TypeError):
        return {}


def _fingerprint(source: Source, known: dict[str, str], say: Say) -> str:
    try:
        return source.fingerprint()
    except NetworkError:
        if source.name not in known:
            raise
        say(f"The Hub cannot be asked whether {source.name} has changed; what was prepared from it is used.")
        return known[source.name]


def _head(
    settings: PrepareSettings, sources: list[Source], tokenizer: Tokenizer | None, known: dict[str, str], say: Say
) -> dict[str, Any]:
    """What must be the same for a preparation to go on, or to count as done."""
    plain = settings.to_json() | {"sources": [source.name for source in sources]}
    if tokenizer is not None:
        plain |= {"tokenizer": "gpt2" if isinstance(tokenizer, GPT2Tokenizer) else "given", "vocab_size": tokenizer.vocab_size}
    return {
        "settings": plain,
        "contents": [_fingerprint(source, known, say) for source in sources],
        "tokenizer_sha256": tokenizer_sha256(tokenizer) if tokenizer else None,
    }


def _check_same(folder: Path, begun: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to mix what was begun in a folder with something else."""
    way_out = "Choose another folder, or delete this one (--force of `data prepare` does)."
    changed = [
        f"{key.replace('_', '-')} was {begun['settings'].get(key)} and is now {value}"
        for key, value in now["settings"].items()
        if key != "sources" and begun["settings"].get(key) != value
    ]
    if changed:
        raise UsageError(f"The data in {folder} were prepared with other settings: {'; '.join(changed)}. {way_out}")
    if now["contents"] != begun["contents"]:
        raise UsageError(f"The data in {folder} were prepared from other sources, or these have changed since. {way_out}")
    if now["tokenizer_sha256"] and begun["tokenizer_sha256"] != now["tokenizer_sha256"]:
        raise UsageError(f"The data in {folder} were prepared with another tokenizer. {way_out}")


def _ledger(folder: Path, head: dict[str, Any], say: Say) -> Ledger:
    """The ledger of what was begun in the folder, or a new one."""
    others = [path.name for path in folder.iterdir() if path.name != LOCK]
    if others and not (folder / UNFINISHED).exists():
        raise UsageError(f"{folder} holds other files already, such as {min(others)}; choose a folder of its own.")
    ledger = Ledger(folder / UNFINISHED)
    if ledger.state is None:
        ledger.commit({"head": head, "at": 0, "read": 0, "sources": None, "writers": {}})
        return ledger
    try:
        _check_same(folder, ledger.state["head"], head)
    except UsageError:
        ledger.close()
        raise
    if ledger.state["at"] or ledger.state["read"]:
        say(f"Going on with what was begun in {folder}.")
    return ledger


def _finished(folder: Path, head: dict[str, Any]) -> Shards:
    shards = Shards.open(folder)
    manifest = shards.manifest
    try:
        contents = [source["sha256"] for source in manifest["sources"]]
        begun = {"settings": manifest["settings"], "contents": contents, "tokenizer_sha256": shards.tokenizer_sha256}
    except (KeyError, TypeError) as error:
        raise UsageError(f"The data in {folder} were not made by `data prepare`; choose another folder.") from error
    _check_same(folder, begun, head)
    with contextlib.suppress(OSError):
        (folder / UNFINISHED).unlink(missing_ok=True)  # where a kill came between the manifest and the end
    return shards
