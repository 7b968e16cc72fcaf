"""Searching the Hub for story models: the known ones that match first, then what the Hub finds. Knows no torch.

Every model is asked about by name, the known ones too: size, downloads, licence and whether a person may have it come from the Hub
at that moment. One that cannot be asked about is shown with the reason; without any network the known ones are all there is.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import NetworkError, TinyTalesError, UsageError
from engine.hub.asking import ask_all
from engine.hub.curated import KNOWN, Known
from engine.hub.failures import Unreached
from engine.hub.failures import told as told_failure
from engine.hub.needed import RemoteFile, needed
from engine.run_status import whole

AT_ONCE = 6
"""Questions under way at the same time."""
SECONDS = 20.0
"""How long one question may take."""
FRESH_S = 600.0
"""How long an answer is believed before it is asked for again."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_FAMILIES = {
    "gpt_neo": "GPT-Neo (TinyStories)", "llama": "Llama (Hub)", "gpt2": "GPT-2 (Hub)", "tinytales_int8": "tinytales, 8 bits",
}  # fmt: skip
"""By `model_type` of a repository's config: what our adapters call it."""


@dataclass(frozen=True)
class Model:
    """A model on the Hub; what is not known is empty or None."""

    repo: str
    source: str
    """What `download` and `--checkpoint` take: the repository, or one file of it."""
    title: str = ""
    """A few words on a known one."""
    curated: bool = False
    family: str = ""
    """Only where it can be told before downloading."""
    parameters: int | None = None
    size: int | None = None
    """Bytes that a download fetches; of a repository with several models, all of them together."""
    downloads: int | None = None
    """In the last month, as the Hub counts."""
    licence: str = ""
    gated: bool = False
    """Its page asks for an agreement first."""
    private: bool = False
    modified: float | None = None
    """Unix seconds of its last change."""
    trouble: str = ""
    """Why nothing more is known of it, in one sentence."""

    @property
    def file(self) -> str:
        return self.source.removeprefix(self.repo).removeprefix("/")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    models: tuple[Model, ...]
    trouble: str = ""
    """Why the Hub could not be searched, in one sentence; the models are then the known ones alone."""
    network: bool = False
    """Whether the trouble is one that may be gone another time; false where there is none, or where asking again would not help."""


_answers: dict[str, tuple[float, Any]] = {}


def search(words: str = "", limit: int = 30, *, told: Callable[[Found], None] | None = None, curated_only: bool = False) -> Found:
    """Models whose names match all the words; without any words, the known ones. Blocks on the network: call it in a thread.

    `told` hears of the list before the details have come, and of each change after. Never raises for the network or the Hub.
    """
    known = [model for model in map(_of_known, KNOWN) if _matches(words, f"{model.source} {model.title} {model.family}")]
    found = Found(tuple(known))
    _tell(told, found)
    if offline := _offline():
        return _told(told, dataclasses.replace(found, trouble=offline, network=True))
    more: list[Model] = []
    if words.strip() and not curated_only:
        try:
            there = {model.repo for model in known}
            more = [model for model in _listed(words, limit) if model.repo not in there]
        except TinyTalesError as error:
            return _told(told, dataclasses.replace(found, trouble=_worded(error), network=isinstance(error, NetworkError)))
    return _with_details([*known, *more], told)


def about(repo: str) -> Model:
    """What the Hub says of one model; raises as `engine.hub.failures.told` says."""
    return _detailed(Model(repo, repo), _info(repo))


def _with_details(models: Sequence[Model], told: Callable[[Found], None] | None) -> Found:
    """Ask about each, several at once; the first that finds no network at all ends the asking."""
    rows = list(models)
    trouble = ""
    for answer in ask_all(_asked, models, AT_ONCE):
        rows[answer.place], unreachable = answer.get()
        if unreachable:
            trouble = rows[answer.place].trouble
            break
        _tell(told, Found(tuple(rows)))
    if trouble:
        rows = [dataclasses.replace(row, trouble="") for row in rows]
    return _told(told, Found(tuple(rows), trouble, bool(trouble)))


def _asked(model: Model) -> tuple[Model, bool]:
    """The model with its details, and whether the Hub could not be reached at all."""
    try:
        return _detailed(model, _info(model.repo)), False
    except TinyTalesError as error:
        return dataclasses.replace(model, trouble=_worded(error)), isinstance(error, Unreached)
    except Exception:  # whatever one page says, the others are still shown
        return dataclasses.replace(model, trouble="What the Hub says of it makes no sense; look at its page there."), False


def _worded(error: TinyTalesError) -> str:
    """The failure in words that fit a search, which has nothing to do with the cache."""
    return (
        f"The Hub could not be reached{error.why}; only the known models are listed."
        if isinstance(error, Unreached)
        else str(error)
    )


def _info(repo: str) -> Any:
    """`ModelInfo` with the sizes of all files, remembered for a while."""
    from huggingface_hub import HfApi

    when, answer = _answers.get(repo, (0.0, None))
    if answer is None or time.monotonic() - when > FRESH_S:
        try:
            answer = HfApi().model_info(repo, files_metadata=True, timeout=SECONDS)
        except Exception as error:
            raise told_failure(error, repo) from error
        _answers[repo] = (time.monotonic(), answer)
    return answer


def _listed(words: str, limit: int) -> list[Model]:
    """What the Hub finds, the most downloaded first."""
    from huggingface_hub import constants
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    # Not by `HfApi.list_models`: where there is no network, that goes on trying for half a minute and says so on standard error.
    wanted = {"search": " ".join(words.split()), "limit": str(limit), "sort": "downloads", "direction": "-1"}
    try:
        answer = get_session().get(f"{constants.ENDPOINT}/api/models", params=wanted, headers=build_hf_headers(), timeout=SECONDS)
        hf_raise_for_status(answer)
        names = [str(found["id"]) for found in answer.json()]
    except Exception as error:
        raise told_failure(error, "the Hub") from error
    return [Model(name, name) for name in names if _NAME.fullmatch(name)][:limit]


def _detailed(model: Model, info: Any) -> Model:
    files = [
        RemoteFile(
            name=file.rfilename,
            size=max(int(file.size or 0), 0),
            checksum=file.lfs.sha256 if file.lfs else file.blob_id or "",
            lfs=bool(file.lfs),
        )
        for file in info.siblings or []
    ]
    trouble = ""
    try:
        size: int | None = sum(file.size for file in needed(files, model.file or None))
    except UsageError as error:  # several models: which one is chosen before it is downloaded
        trouble = str(error) if model.file else ""
        size = (
            None
            if model.file
            else sum(file.size for file in files if file.name.endswith((".pt", ".pth", ".bin", ".safetensors")))
        )
    except TinyTalesError as error:
        size, trouble = None, str(error)
    config = info.config or {}
    card = info.card_data.to_dict() if info.card_data else {}
    numbers = info.safetensors.total if info.safetensors else None
    return dataclasses.replace(
        model,
        family=model.family or _FAMILIES.get(config.get("model_type", ""), ""),
        parameters=model.parameters or whole(numbers),
        size=size,
        downloads=whole(info.downloads),
        licence=_licence(card, info.tags or []),
        gated=bool(info.gated),
        private=bool(info.private),
        modified=info.last_modified.timestamp() if info.last_modified else None,
        trouble=trouble,
    )


def _licence(card: dict[str, Any], tags: Sequence[str]) -> str:
    said = card.get("license") or next((tag.partition(":")[2] for tag in tags if tag.startswith("license:")), "")
    return ", ".join(map(str, said)) if isinstance(said, list) else str(said)


def _of_known(known: Known) -> Model:
    return Model(known.repo, known.source, known.title, True, known.family, known.parameters)


def _matches(words: str, text: str) -> bool:
    return all(word in text.casefold() for word in re.split(r"\s+", words.strip().casefold()))


def _offline() -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, so the Hub is not asked; only the known models are listed."
    return ""


def _told(told: Callable[[Found], None] | None, found: Found) -> Found:
    _tell(told, found)
    return found


def _tell(told: Callable[[Found], None] | None, found: Found) -> None:
    if told is not None:
        told(found)
