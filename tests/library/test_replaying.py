"""Writing again what was gone on with from the drawn tokens, and what was one of several candidates: with a real small model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from engine.errors import UsageError
from engine.held import Holder, write
from engine.protocol import Finished, Load, Token
from engine.settings import GenerationRequest, SamplingSettings
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.replaying import Replayer
from tinytales_tui.library.runs import Run
from tinytales_tui.library.tokens import Tokens
from tinytales_tui.library.tree import Tree

SAMPLING = SamplingSettings(temperature=1.4, top_k=0, max_tokens=12, min_tokens=12, stop_loops=False, seed=5)


@pytest.fixture(scope="module")
def tree(tiny_checkpoint: Path) -> Tree:
    """Node 1: three words. 2 and 3: two of three candidates. 4: node 2 up to a token, with another token. 5: what goes on from there."""
    held = Holder().load(Load(0, str(tiny_checkpoint), "cpu", "fp32", 1, None, "plain"))
    about = {"checkpoint": str(tiny_checkpoint), "device": "cpu", "threads": 1, "step": "plain", "precision": "fp32"}

    def generate(tree: Tree, parent: int, rows: tuple[int, ...], tail: tuple[int, ...] = ()) -> Tree:
        count = len(rows) + 1 if len(rows) > 1 else 1
        request = GenerationRequest("a kite", "sad", tree.text(parent), SAMPLING, count, tail=tail)
        events = list(write(held, request))
        for row in rows:
            seed = 5 + row
            more = {"batch": count, "row": row} if count > 1 else {}
            made = Recipe(
                "a kite", "sad", sampling=SAMPLING.to_json() | {"seed": seed}, seed=seed, tail=len(tail), **about, **more
            )
            tree = tree.add(parent, now=1.0, recipe=made)
            for event in events:
                if isinstance(event, Token) and event.story == row:
                    tokens = Tokens.of([(event.token, len(event.text), event.logprob)])
                    tree = tree.grow(tree.current, event.text, tokens, now=1.0)
                elif isinstance(event, Finished) and event.story == row:
                    tree = tree.grow(tree.current, event.text, now=1.0).change(tree.current, stop_reason=event.reason)
        return tree

    tree = generate(Tree().write(None, "Mia found a", now=0.0), 1, (0, 2))
    drawn = list(tree.node(2).tokens)
    tokenizer = held.checkpoint.tokenizer
    other = tokenizer.encode(" kite")
    run = Run("model", " kite", Tokens.of((token, len(tokenizer.token_bytes(token)), -2.0) for token in other))
    cut = next(
        at for at in range(len(drawn) - 1, 0, -1) if "\ufffd" not in tree.node(2).text[: sum(one.letters for one in drawn[:at])]
    )
    tree = tree.until(2, sum(token.letters for token in drawn[:cut]), run, now=2.0)
    tail = (*(token.id for token in drawn[:cut]), *other)
    return generate(tree, tree.current, (0,), tail)


def test_a_fork_and_the_candidates_of_a_batch_are_written_again(tree: Tree) -> None:
    replayer = Replayer()
    for number, count in ((2, 12), (3, 12), (5, 12)):
        found = replayer.replay(tree, tree.node(number))
        assert (found.same, found.tokens, found.by, found.trouble) == (True, count, "tokens", ""), (number, found)
    assert tree.node(2).tokens != tree.node(3).tokens
    other_seed = tree.change(3, recipe=dataclasses.replace(tree.node(3).recipe, seed=8))
    assert not replayer.replay(other_seed, other_seed.node(3)).same


def test_where_the_tokens_before_are_not_known_it_says_so(tree: Tree) -> None:
    node = tree.node(4)
    runs = tuple(Run(run.author, run.text) for run in node.runs)
    forgotten = Tree({**tree.nodes, 4: dataclasses.replace(node, runs=runs)}, 5)
    found = Replayer().replay(forgotten, forgotten.node(5))
    assert not found.same and "tokens that were read as they were drawn, and 0 of them are known." in found.trouble


def test_a_recipe_tells_only_what_is_unusual_and_reads_old_ones() -> None:
    plain = Recipe("a kite", "sad", sampling=SAMPLING.to_json(), seed=5, precision_loss=0.0)
    data = plain.to_json()
    assert not {"tail", "batch", "row"} & data.keys() and data["precision_loss"] == 0.0
    one = dataclasses.replace(plain, tail=3, batch=4, row=2)
    assert Recipe.from_json(json.loads(json.dumps(one.to_json()))) == one and Recipe.from_json(data) == plain
    asked = one.request("Mia found", (7, 8, 9))
    assert (asked.count, asked.sampling.seed, asked.tail) == (4, 3, (7, 8, 9)) and plain.request("Mia").tail == ()
    with pytest.raises(UsageError, match="3 tokens"):
        one.request("Mia found")
    old = {name: value for name, value in SAMPLING.to_json().items() if name not in ("favour", "favoured_words", "must_mention")}
    assert Recipe.from_json(data | {"sampling": old}).request("Mia").sampling == SAMPLING
    for wrong in (
        {"tail": -1},
        {"tail": "3"},
        {"batch": 0},
        {"batch": 65},
        {"batch": 2, "row": 2},
        {"row": True},
        {"batch": 8, "row": 6},
    ):
        with pytest.raises(UsageError):
            Recipe.from_json(data | wrong)
