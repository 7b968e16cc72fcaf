"""Which files of a repository are fetched: the weights once, what is needed to read them, and nothing else.

Functions on a list of files; they know neither the network nor the disk. The same rules choose from a folder what `readers` opens.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.checkpoints.readers.kinds import may_hold_weights, newest_epoch
from engine.errors import CheckpointError, UsageError
from engine.hub.failures import plain


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository, as the Hub describes it."""

    name: str
    """With `/` between folders."""
    size: int | None = None
    """Bytes; None where the Hub did not say."""
    checksum: str = ""
    """SHA-256 (64 hex digits) of a file in LFS, else Git's SHA-1 (40); empty where the Hub did not say."""
    lfs: bool = False


class SeveralModels(UsageError):
    """A repository holds several models; `names` are the files to choose from."""

    def __init__(self, names: Sequence[str], repo: str) -> None:
        self.names = tuple(names)
        super().__init__(f"{repo} holds several models ({_listed(names)}); {_by_name(repo, names[0])}.")


_SHARD = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})(?P<ending>\.\w+)")
_ALWAYS = ("config*.json", "*_config.json", "special_tokens_map.json", "added_tokens.json", "tinytales.json", "README.md")
_VOCABULARY = ("tokenizer.json", "tok*.model", "tok*.bin")
_MERGES = ("vocab.json", "merges.txt")
_ELSEWHERE = (".gguf", ".onnx", ".h5", ".msgpack", ".ot", ".tflite", ".mlmodel")


def needed(files: Sequence[RemoteFile], pattern: str | None = None, *, repo: str = "owner/name") -> list[RemoteFile]:
    """What has to be fetched of `files`, in their order: one model's weights and what stands beside them.

    `pattern` (as for `fnmatch`, over the whole name; a name that is there is taken as it is) chooses files by hand instead. `repo`
    is for the sentences of errors. Raises `SeveralModels` where the weights must be chosen, `UsageError` where `pattern` fits
    nothing, `CheckpointError` where there are no weights that can be read.
    """
    chosen = {file.name for file in (_by_hand(files, pattern, plain(repo)) if pattern else weights(files, repo=plain(repo)))}
    if any(_SHARD.fullmatch(name) for name in chosen):
        chosen |= {file.name for file in files if file.name.endswith(".index.json") and _index_of(file.name, chosen)}
    chosen |= {file.name for file in _beside(files, {_folder(name) for name in chosen})}
    return [file for file in files if file.name in chosen]


def weights(files: Iterable[RemoteFile], *, repo: str = "owner/name") -> list[RemoteFile]:
    """The weights among `files` that are read where none are named; errors as in `needed`."""
    files = list(files)
    root = [file for file in files if "/" not in file.name and not file.name.startswith(".")]
    for ending, usual in ((".safetensors", "model.safetensors"), (".bin", "pytorch_model.bin")):
        models = _models(file for file in root if file.name.endswith(ending) and (ending != ".bin" or _pytorch(file.name)))
        if models:
            return _one(models, usual, repo)
    models = _models(file for file in root if may_hold_weights(file.name))
    if models:
        return _one(models, "", repo)
    below = [file.name for file in files if may_hold_weights(file.name)]
    if len(below) > 1:
        raise SeveralModels(below, repo)
    if below:
        raise UsageError(f"The weights of {repo} lie in a folder ({plain(below[0])}); {_by_name(repo, below[0])}.")
    other = sorted({file.name[file.name.rindex(".") :] for file in files if file.name.endswith(_ELSEWHERE)})
    only = f" (only {', '.join(other)})" if other else ""
    raise CheckpointError(
        f"{repo} on the Hub holds no weights that can be read{only}; choose one with .safetensors, .pt, .pth or .bin files."
    )


def missing_shards(names: Iterable[str]) -> list[str]:
    """Of the sharded weights among `names`, the shards that are not there."""
    names = set(names)
    missing: set[str] = set()
    for name in names:
        if shard := _SHARD.fullmatch(name):
            count = int(shard["count"])
            all_of_them = {f"{shard['stem']}-{n:05}-of-{count:05}{shard['ending']}" for n in range(1, count + 1)}
            missing |= all_of_them - names
    return sorted(missing)


def _pytorch(name: str) -> bool:
    return name.startswith("pytorch_model")


def _models(files: Iterable[RemoteFile]) -> dict[str, list[RemoteFile]]:
    """The models among files of weights: each file is one, and all shards of one are one."""
    models: dict[str, list[RemoteFile]] = {}
    for file in files:
        if not may_hold_weights(file.name):
            continue
        shard = _SHARD.fullmatch(file.name)
        whole = shard["stem"] + shard["ending"] if shard else file.name
        models.setdefault(whole, []).append(file)
    for found in models.values():
        whole_files = [file for file in found if not _SHARD.fullmatch(file.name)]
        found[:] = whole_files or found  # the same weights whole and in shards: once is enough
    return models


def _one(models: dict[str, list[RemoteFile]], usual: str, repo: str) -> list[RemoteFile]:
    if usual in models:
        return models[usual]
    if len(models) == 1:
        return next(iter(models.values()))
    if newest := newest_epoch(list(models)):
        return models[newest]
    raise SeveralModels(list(models), repo)


def _by_hand(files: Sequence[RemoteFile], pattern: str, repo: str) -> list[RemoteFile]:
    exact = [file for file in files if file.name == pattern]
    found = exact or [file for file in files if fnmatch.fnmatchcase(file.name, pattern)]
    if not found:
        names = [file.name for file in files if may_hold_weights(file.name)] or [file.name for file in files]
        raise UsageError(
            f"{repo} on the Hub has no file {plain(pattern)}; {f'it has {_listed(names)}' if names else 'it is empty'}."
        )
    return found


def _index_of(index: str, chosen: set[str]) -> bool:
    """Whether that index names the shards among the chosen."""
    whole = index.removesuffix(".index.json")
    return any((shard := _SHARD.fullmatch(name)) and shard["stem"] + shard["ending"] == whole for name in chosen)


def _beside(files: Sequence[RemoteFile], folders: set[str]) -> list[RemoteFile]:
    """Settings and vocabularies at the root and in the folders of the weights."""
    folders = folders | {""}
    has_tokenizer = any(file.name == "tokenizer.json" for file in files)
    patterns = (*_ALWAYS, *_VOCABULARY, *(() if has_tokenizer else _MERGES))
    return [
        file
        for file in files
        if _folder(file.name) in folders
        and any(fnmatch.fnmatchcase(file.name.rpartition("/")[2], pattern) for pattern in patterns)
    ]


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _by_name(repo: str, name: str) -> str:
    """How one of several models is named."""
    return f"name one of its files, as in {repo}/{plain(name)}, or with --file {plain(name)}"


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(plain(name) for name in names[:most]) + more
