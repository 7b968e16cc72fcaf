"""Stories for the library's tests: small trees with recipes and tokens, made without a model."""

from __future__ import annotations

from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.tokens import Tokens
from tinytales_tui.library.tree import Tree

SAMPLING = {"temperature": 0.8, "top_k": 50, "max_tokens": 40}


def recipe(topic: str = "a lost dog", seed: int = 7, **more: object) -> Recipe:
    values = {"ending": "sad", "sampling": SAMPLING | {"seed": seed}, "checkpoint": "default"} | more
    return Recipe(topic=topic, seed=seed, **values)  # type: ignore[arg-type]


def tokens_for(text: str, first: int = 100) -> Tokens:
    """A token a word, the space before it included."""
    words = text.replace(" ", "\0 ").split("\0")
    return Tokens.of((first + number, len(word), -0.5) for number, word in enumerate(words) if word)


def generated(tree: Tree, parent: int | None, text: str, now: float = 10.0, **more: object) -> Tree:
    """The tree with a finished generation below `parent`, in front."""
    tree = tree.add(parent, now=now, recipe=recipe(**more))  # type: ignore[arg-type]
    assert tree.current is not None
    tree = tree.grow(tree.current, text, tokens_for(text), now=now + 1)
    return tree.change(tree.current, stop_reason="end of text")


def small_story(topic: str = "a lost dog") -> Tree:
    """A generation, a retry of it, and something that goes on from the retry, which is in front."""
    tree = generated(Tree(), None, "Once there was a dog.", topic=topic)
    tree = generated(tree, None, "A dog named Spot was lost in the wood.", topic=topic, seed=8)
    return generated(tree, 2, " He barked at the moon.", topic=topic, seed=9)
