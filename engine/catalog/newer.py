"""Whether the branches that were downloaded have moved on at the Hub since. Knows no torch."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence

from engine.catalog.entries import Entry
from engine.errors import NetworkError, TinyTalesError
from engine.hub.asking import ask_all
from engine.hub.failures import Unreached, told

AT_ONCE = 6
SECONDS = 10.0
"""How long one question may take."""
FRESH_S = 3600.0
"""How long an answer is believed."""

_answers: dict[tuple[str, str], tuple[float, str]] = {}


def commits(asked: Iterable[tuple[str, str]], *, again: bool = False) -> dict[tuple[str, str], str]:
    """The commit at which each (repository, branch) stands on the Hub now; those that cannot be asked about are left out.

    One that the Hub has trouble with at this moment is asked about again the next time.

    Blocks on the network: call it in a thread. `again` asks also where an answer is still fresh. Raises `NetworkError` where the Hub
    cannot be reached at all.
    """
    wanted = list(dict.fromkeys(asked))
    now = time.monotonic()
    stale = [one for one in wanted if again or one not in _answers or now - _answers[one][0] > FRESH_S]
    for answer in ask_all(lambda one: _commit(*one), stale, AT_ONCE):
        commit = ""
        try:
            commit = answer.get()
        except Unreached as error:
            raise NetworkError(f"The Hub could not be reached{error.why}; what has changed there is not known.") from error
        except NetworkError:  # of this repository alone
            continue
        except TinyTalesError:  # gone, or closed to this token: nothing newer can be had
            pass
        _answers[stale[answer.place]] = (time.monotonic(), commit)
    return {one: _answers[one][1] for one in wanted if one in _answers and _answers[one][1]}


def _commit(repo: str, branch: str) -> str:
    from huggingface_hub import HfApi

    try:
        return str(HfApi().model_info(repo, revision=branch, expand=["sha"], timeout=SECONDS).sha or "")
    except Exception as error:
        raise told(error, repo, what=branch) from error


def branches(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    """(repository, branch) of everything that was downloaded by the name of a branch or a tag, each once."""
    return list(dict.fromkeys((entry.repo, _branch(entry)) for entry in entries if entry.refs))


def marked(entries: Sequence[Entry], found: dict[tuple[str, str], str]) -> list[Entry]:
    """The entries, those with `newer` whose branch stands at another commit on the Hub."""
    return [
        dataclasses.replace(entry, newer=commit)
        if entry.refs and (commit := found.get((entry.repo, _branch(entry)))) and commit != entry.revision
        else entry
        for entry in entries
    ]


def _branch(entry: Entry) -> str:
    return "main" if "main" in entry.refs else entry.refs[0]
