"""Writing a story again from its recipes, token for token, and saying exactly where and why it is not the same.

The engine runs in this process; torch is only imported when something is written.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine import openmp
from engine.checkpoints.choices import Choices
from engine.errors import NetworkError, TinyTalesError, UsageError
from engine.protocol import Finished, Load, Started, Token
from engine.settings import GenerationRequest
from engine.version import __version__
from tinytales_tui.library.identity import identity
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.tree import Node, Tree
from tinytales_tui.text import one_line

if TYPE_CHECKING:
    from engine.held import Held

UNFINISHED = (None, "cancelled")
"""Stop reasons of text that only ends where somebody, or something, ended it."""


@dataclass(frozen=True)
class Replayed:
    """What came of one node."""

    node: int
    same: bool
    tokens: int
    """How many were compared and were the same; letters where the node has no tokens."""
    by: str = "tokens"
    """`tokens`, or `letters`."""
    where: str = ""
    """Of what is not the same: which token, after which words, and what stood there and stands there now."""
    otherwise: tuple[str, ...] = ()
    """What in the surroundings is not as the recipe tells it."""
    untold: tuple[str, ...] = ()
    """What the recipe does not tell, so that it may be otherwise."""
    trouble: str = ""
    """Why it could not be written again at all, in one sentence."""
    network: bool = False
    """The trouble may be over at another time."""


def generated(tree: Tree, number: int | None = None) -> list[Node]:
    """The generations on the way to the node in front, or the one with this number (UsageError where there is none)."""
    nodes = [tree.node(number)] if number is not None else list(tree.path(tree.current))
    found = [node for node in nodes if node.recipe is not None]
    if not found:
        what = f"Node {number}" if number is not None else "This story, as it reads now,"
        raise UsageError(f"{what} was not generated in one go, so there is no recipe to write it again from.")
    return found


class Replayer:
    """Writes nodes again; a checkpoint is loaded once for all nodes that were written with it."""

    def __init__(self, checkpoint: str | None = None, device: str | None = None) -> None:
        """`checkpoint` and `device` stand in for those of the recipes."""
        os.environ.update(openmp.turns(openmp.WRITING))  # before torch is imported
        self._checkpoint, self._device = checkpoint, device
        self._held: tuple[Load, Held] | None = None

    def replay(self, tree: Tree, node: Node) -> Replayed:
        """Write a generation of this tree again."""
        assert node.recipe is not None
        try:
            request = node.recipe.request(tree.text_before(node.number), known_before(tree, node))
            held = self._load(node.recipe)
            return _compare(node, held, request, tree)
        except TinyTalesError as error:
            trouble = f"It cannot be written again: {error}"
            return Replayed(node.number, False, 0, trouble=trouble, network=isinstance(error, NetworkError))

    def _load(self, recipe: Recipe) -> Held:
        from engine.held import Holder

        source = self._checkpoint or recipe.checkpoint or None
        if source == recipe.checkpoint and recipe.revision and "@" not in source and not source.startswith(("/", ".", "~")):
            source = f"{source}@{recipe.revision}"
        precision = {"": "fp32", "float32": "fp32"}.get(recipe.precision, recipe.precision)
        load = Load(
            0, None if source == "default" else source, self._device or recipe.device or None, precision, recipe.threads,
            Choices.from_json(recipe.choices), recipe.step or "plain",
        )  # fmt: skip
        if self._held is None or self._held[0] != load:
            self._held = None  # one checkpoint in memory at a time
            self._held = load, Holder().load(load)
        return self._held[1]


def known_before(tree: Tree, node: Node) -> tuple[int, ...]:
    """The tokens before a node that it was written after as they were drawn; fewer where not all of them are known any more."""
    wanted = node.recipe.tail if node.recipe is not None else 0
    found: list[int] = []
    for run in reversed(tree.runs(node.parent)):
        if len(found) >= wanted or not run.tokens:
            break
        found = [token.id for token in run.tokens] + found
    return tuple(found[max(0, len(found) - wanted) :])


def _compare(node: Node, held: Held, request: GenerationRequest, tree: Tree) -> Replayed:
    from engine.held import write

    row = node.recipe.row if node.recipe is not None else 0
    kept = [token.id for token in node.tokens]
    by_tokens = bool(kept) and all(run.tokens for run in node.runs[:-1])
    written: list[Token] = []
    started: Started | None = None
    ended: Finished | None = None
    enough = len(kept) if by_tokens and node.stop_reason in UNFINISHED else None
    enough_of_it = threading.Event()
    for event in write(held, request, enough_of_it.is_set):
        if isinstance(event, Started):
            started = event
            if enough == 0:
                enough_of_it.set()
        elif isinstance(event, Token) and event.story == row:
            written.append(event)
            at = len(written) - 1
            if at + 1 == enough or (by_tokens and (at >= len(kept) or event.token != kept[at])):
                enough_of_it.set()
        elif isinstance(event, Finished) and event.story == row:
            ended = event
    text = "".join(token.text for token in written) + (ended.text if ended else "")
    if by_tokens:
        same, place = _first_difference(kept, [token.token for token in written])
        where = "" if same else _token_place(node, tree, place, written, ended)
        if same and ended is not None and node.stop_reason not in UNFINISHED and ended.reason != node.stop_reason:
            same, where = False, f"after all {place} tokens: it ended by {node.stop_reason} then, and by {ended.reason} now"
        counted = place
    else:
        same, counted = _letters(node, request, text, ended)
        where = "" if same else _letter_place(node, tree, text, counted)
    if same:
        return Replayed(node.number, True, counted, "tokens" if by_tokens else "letters")
    otherwise, untold = surroundings(node.recipe, held, started)  # type: ignore[arg-type]
    return Replayed(node.number, False, counted, "tokens" if by_tokens else "letters", where, otherwise, untold)


def surroundings(recipe: Recipe, held: Held, started: Started | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is not as the recipe tells it, and what it does not tell."""
    from engine.devices import describe

    info = held.info
    found = identity(info.path)
    pairs = (
        ("the checkpoint", recipe.checkpoint, info.source.split("@")[0] if "@" not in recipe.checkpoint else info.source),
        ("the checkpoint's revision", recipe.revision[:12], found.revision[:12]),
        ("the checkpoint's weights (sha256)", recipe.sha256[:16], found.sha256[:16]),
        ("torch", recipe.torch, str(describe()["torch"])),
        ("the device", recipe.device, info.device),
        ("the number of threads", _text(recipe.threads), _text(started.threads if started else None)),
        ("the step", recipe.step, info.step),
        ("the precision", recipe.precision.replace("float32", "fp32"), info.precision),
        ("tinytales-tui", recipe.program, __version__),
    )
    otherwise = tuple(f"{what}: {then} then, {now or 'unknown'} now" for what, then, now in pairs if then and then != now)
    untold = tuple(what for what, then, now in pairs if not then and now)
    return tuple(one_line(line, 200) for line in otherwise), untold


def _first_difference(kept: Sequence[int], written: Sequence[int]) -> tuple[bool, int]:
    """Whether both are the same, and how many are from the beginning."""
    same = 0
    for one, other in zip(kept, written, strict=False):
        if one != other:
            return False, same
        same += 1
    return len(kept) == len(written), same


def _token_place(node: Node, tree: Tree, place: int, written: Sequence[Token], ended: Finished | None) -> str:
    tokens = list(node.tokens)
    letters = sum(token.letters for token in tokens[:place])
    after = _after(tree.text_before(node.number) + node.text[:letters])
    then = "nothing more" if place == len(tokens) else _named(tokens[place].id, node.text[letters:][: tokens[place].letters])
    now = f"the end ({ended.reason})" if ended else "nothing more"
    if place < len(written):
        now = _named(written[place].token, written[place].text)
    return f"token {place + 1} of {len(tokens)}{after}: {then} then, {now} now"


def _named(id: int, text: str) -> str:
    return f"{one_line(repr(text), 40)} (token {id})" if text else f"token {id}"


def _letters(node: Node, request: GenerationRequest, text: str, ended: Finished | None) -> tuple[bool, int]:
    """The same for a node without tokens: text of a record, which batch mode may have tidied."""
    from engine.postprocess import tidy

    kept = node.text
    if text == kept or (node.stop_reason in UNFINISHED and text.startswith(kept)):
        return True, len(kept)
    before = request.opening if request.ending is None else ""
    if ended is not None and tidy(text, ended.reason != "end of text", before=before) == kept:
        return True, len(kept)
    return False, next((at for at, (a, b) in enumerate(zip(kept, text, strict=False)) if a != b), min(len(kept), len(text)))


def _letter_place(node: Node, tree: Tree, text: str, at: int) -> str:
    after = _after(tree.text_before(node.number) + node.text[:at])
    then, now = (one_line(repr(some[at : at + 20]), 40) if some[at:] else "nothing more" for some in (node.text, text))
    return f"letter {at + 1} of {len(node.text)}{after}: {then} then, {now} now"


def _after(text: str) -> str:
    end = " ".join(text[-40:].split())
    return f", after {end!r}" if end else ""


def _text(value: object) -> str:
    return "" if value is None else str(value)
