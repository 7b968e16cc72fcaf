"""What went wrong between here and the Hub, each in a sentence of its own with a way out. Knows no torch.

Nothing that a server said is repeated: its words are for programs, and could steer a terminal. `kind_of` and `failure_of` carry a
failure from one process to another.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args

from engine.errors import CheckpointError, NetworkError, TinyTalesError, UsageError

Kind = Literal["network", "checkpoint", "usage"]
"""Worth trying again, or not, or asked for in a way that cannot be done."""
_CLASSES: dict[Kind, type[TinyTalesError]] = {"network": NetworkError, "checkpoint": CheckpointError, "usage": UsageError}

_TOKEN = "set HF_TOKEN, or run `hf auth login`"
_WHY = {
    "NameResolution": " (its name is not known here: no network, or HF_ENDPOINT is wrong)",
    "Refused": " (nothing answers at its address; HF_ENDPOINT may be wrong)",
    "Slow": " (it took too long to answer)",
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM)
_IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


class Unreached(NetworkError):
    """The Hub could not be reached at all; `why` is that in a few words, for whoever has a sentence of their own."""

    def __init__(self, repo: str, why: str = "", way_out: str = "try again with a network") -> None:
        super().__init__(f"{repo} is not in the local cache and the Hub could not be reached{why}; {way_out}.")
        self.why = why


def told(error: BaseException, repo: str, *, what: str = "") -> TinyTalesError:
    """The failure that a person is told, for whatever huggingface_hub, its HTTP library or the cache's disk raised.

    `repo` is `owner/name`; `what` is the revision or the file that was asked for. A `NetworkError` is worth trying again. What is told
    already comes back as it is.
    """
    if isinstance(error, TinyTalesError):
        return error
    from huggingface_hub import errors

    repo, what = plain(repo), plain(what)
    causes = list(_causes(error))
    for cause in causes:  # the library wraps "no network" into "not in the cache", and the cause says more
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return _offline(repo)
        if isinstance(cause, errors.HfHubHTTPError):
            return _answered(cause, repo, what)
    if isinstance(error, errors.HFValidationError):
        return CheckpointError(f"{repo} is not a name that the Hub could have; it looks like owner/name.")
    for find in (_unreached, _on_disk):
        for cause in causes:
            if found := find(cause, repo):
                return found
    if any(isinstance(cause, (ValueError, KeyError, TypeError, errors.FileMetadataError)) for cause in causes):
        return NetworkError(
            f"What answered for {repo} is not the Hub as we know it: check HF_ENDPOINT, and that no proxy or login page stands "
            "between; then try again."
        )
    return NetworkError(
        f"{repo} could not be downloaded ({type(error).__name__}); try again, and where that does not help with HF_HUB_DISABLE_XET=1."
    )


def damaged_on_the_way(repo: str, name: str) -> NetworkError:
    """For a file whose bytes are not those that the Hub promised."""
    return NetworkError(
        f"{plain(name)} of {plain(repo)} was damaged on the way: its checksum is not the Hub's. It was removed; try again."
    )


def kind_of(error: TinyTalesError) -> Kind:
    """The word for a failure that a process hands to another."""
    return next((kind for kind, cls in _CLASSES.items() if isinstance(error, cls)), "checkpoint")


def failure_of(kind: str, message: str) -> TinyTalesError:
    """The failure behind `kind_of`'s word; one that is not known is a `CheckpointError`."""
    return _CLASSES[kind](message) if kind in get_args(Kind) else CheckpointError(message)  # type: ignore[index]


def plain(words: str, most: int = 120) -> str:
    """`words` from outside on one line, without what could steer a terminal, at most `most` characters."""
    kept = "".join(letter for letter in words if letter.isprintable())
    return kept if len(kept) <= most else kept[: most - 1] + "…"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it came from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _offline(repo: str) -> NetworkError:
    name = "TRANSFORMERS_OFFLINE" if not os.environ.get("HF_HUB_OFFLINE") else "HF_HUB_OFFLINE"
    return Unreached(repo, f", since {name} is set", "unset it and try again")


def _answered(error: Any, repo: str, what: str) -> TinyTalesError:
    """An answer of the Hub that is a refusal: an `HfHubHTTPError`."""
    from huggingface_hub import constants, errors

    status = error.response.status_code
    with_token = bool(error.response.request.headers.get("authorization"))
    page = f"{constants.ENDPOINT}/{repo}"
    if isinstance(error, errors.GatedRepoError):
        if with_token:
            return CheckpointError(
                f"Your token does not open {repo} yet: accept its conditions on {page} with that account, and try again "
                "when access was granted."
            )
        return CheckpointError(f"{repo} is gated: accept its conditions on {page}, then {_TOKEN}.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return CheckpointError(
            f"The Hub has no repository {repo}, or it is private and HF_TOKEN does not open it; check the name, or {_TOKEN}."
        )
    if isinstance(error, errors.DisabledRepoError):
        return CheckpointError(f"{repo} has been disabled on the Hub; choose another model.")
    if isinstance(error, errors.RevisionNotFoundError):
        return CheckpointError(f"{repo} on the Hub has no revision {what or 'main'}; see {page} for its branches and tags.")
    if isinstance(error, errors.EntryNotFoundError):
        return CheckpointError(f"{repo} on the Hub has no file {what or 'of that name'}; see {page} for its files.")
    if status == 401:
        return CheckpointError(f"The Hub does not accept your token: make a new one in its settings, then {_TOKEN} with it.")
    if status == 403:
        return CheckpointError(f"The Hub forbids {repo} to you: look at {page} whether your account may see it, then {_TOKEN}.")
    if status == 404:
        return CheckpointError(f"The Hub has no {what or repo}; see {page} for what there is.")
    return _busy(error, repo, status, with_token)


def _busy(error: Any, repo: str, status: int, with_token: bool) -> TinyTalesError:
    """The answers that another try may change."""
    if status == 429:
        wait = str(error.response.headers.get("retry-after") or "")
        when = f"in {int(wait)} seconds" if wait.isascii() and wait.isdigit() and len(wait) < 6 else "in a few minutes"
        token = "" if with_token else f"; with a token you may ask more often ({_TOKEN})"
        return NetworkError(f"The Hub takes no more requests from here for now; try again {when}{token}.")
    if status == 407:
        return NetworkError(f"The proxy wants to know who asks for {repo}: put name and password into HTTPS_PROXY and try again.")
    if status == 408 or status >= 500:
        return NetworkError(
            f"The Hub has trouble of its own at present (error {status}) and could not give {repo}; try again later."
        )
    return CheckpointError(f"The Hub refused to give {repo} (error {status}); look at it on the Hub's page.")


def _unreached(error: BaseException, repo: str) -> TinyTalesError | None:
    """What the network did, by the names of the HTTP library's errors: which library it is changed between versions of the Hub's."""
    names = {cls.__name__ for cls in type(error).__mro__}
    words = str(error).lower()
    if "ProxyError" in names:
        return NetworkError(f"The proxy on the way to {repo} does not answer; check HTTPS_PROXY and HTTP_PROXY, and try again.")
    if "certificate" in words or "SSLError" in names:
        return NetworkError(
            f"The Hub's certificate could not be checked, so {repo} was not fetched; name your network's own one in SSL_CERT_FILE."
        )
    if "consistency check failed" in words:
        return NetworkError(f"A file of {repo} was damaged on the way: it has not the size that the Hub promised; try again.")
    if names & {"RemoteProtocolError", "ReadError", "WriteError", "CloseError"}:
        return NetworkError(f"The connection was cut while {repo} was fetched; try again.")
    if names & {"TimeoutException", "TimeoutError"}:
        return Unreached(repo, _WHY["Slow"])
    if names & {"ConnectError", "NetworkError", "TransportError", "ConnectionError", "gaierror"}:
        unknown = any(part in words for part in ("name or service", "name resolution", "nodename", "getaddrinfo"))
        why = _WHY["NameResolution"] if unknown else _WHY["Refused"] if "refused" in words else ""
        return Unreached(repo, why)
    return None


def _on_disk(error: BaseException, repo: str) -> TinyTalesError | None:
    """What the disk of the cache said."""
    if not isinstance(error, OSError) or error.errno is None:
        return None
    sentences: dict[tuple[int, ...], Callable[[], str]] = {
        _FULL: lambda: f"{repo} does not fit: the disk of the Hub's cache is full; make room, or set HF_HOME to another disk.",
        _FORBIDDEN: lambda: (
            f"{repo} cannot be put into the Hub's cache: you have no permission to write there; set HF_HOME to a folder of yours."
        ),
        (errno.EROFS,): lambda: (
            f"{repo} cannot be put into the Hub's cache: that disk is read-only; set HF_HOME to a folder that can be written."
        ),
        _IN_THE_WAY: lambda: (
            f"{repo} cannot be put into the Hub's cache: {plain(str(error.filename or 'a part of its path'))} is in the way; "
            "move it, or set HF_HOME to another folder."
        ),
    }
    for codes, sentence in sentences.items():
        if error.errno in codes:
            return CheckpointError(sentence())
    reason = plain(error.strerror or "the system refused").lower()
    return CheckpointError(
        f"{repo} cannot be put into the Hub's cache ({reason}); look at that folder, or set HF_HOME to another."
    )
