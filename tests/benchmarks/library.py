"""How quickly a large library opens, lists and searches: `python tests/benchmarks/library.py [STORIES]` (10,000 unless told).

Each figure of the first part is the median of seven runs; the library is closed and opened again for every one. The stories are made
up: three to six nodes each, about 200 words in front, with tokens and recipes. The second part is the app (`library_pane.py`): medians
of five processes, beside one without a library; a pane that is opened for the first time is mostly Textual's work.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinytales_tui.library.finding import Wanted
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.store import Library
from tinytales_tui.library.story import Story
from tinytales_tui.library.tokens import Tokens
from tinytales_tui.library.tree import Tree

TARGET_MS = 100
COMMON = "the a and to was he she it they said little day big happy went saw play with her his in very".split()


def made_story(draw: random.Random, vocabulary: list[str], number: int) -> Story:
    tree = Tree()
    for _ in range(draw.randint(3, 6)):
        words = [draw.choice(COMMON if draw.random() < 0.6 else vocabulary) for _ in range(draw.randint(60, 120))]
        text = " " + " ".join(words)
        settings = {"temperature": 0.8, "top_k": 50, "top_p": 0.95, "max_tokens": 300, "seed": number}
        recipe = Recipe(f"a {draw.choice(vocabulary)} and a dog", "happy", sampling=settings, seed=number, checkpoint="default")
        retry = tree.current is not None and draw.random() < 0.4
        parent = tree.node(tree.current).parent if retry else tree.current  # type: ignore[arg-type]
        tree = tree.add(parent, now=float(number), recipe=recipe)
        tree = tree.grow(
            tree.current, text, Tokens.of((i, len(word) + 1, -1.0) for i, word in enumerate(words)), now=float(number)
        )  # type: ignore[arg-type]
    tags = (draw.choice(["bedtime", "funny", "short"]),) if draw.random() < 0.3 else ()
    return Story("", tree, tags=tags, favourite=draw.random() < 0.05, created=float(number + 1), changed=float(number + 2))


def milliseconds(action: Callable[[], object], times: int = 7) -> float:
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        spent.append(1000 * (time.perf_counter() - began))
    return statistics.median(spent)


def in_the_app(home: Path, what: str, times: int = 5) -> list[dict[str, Any]]:
    """What `library_pane.py` measured in so many processes."""
    found = []
    for _ in range(times):
        environment = os.environ | {"TINYTALES_HOME": str(home), "BEGAN": str(time.time())}
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("library_pane.py")), what],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        found.append(json.loads(done.stdout))
    return found


def tell_of_the_app(home: Path, without: Path) -> None:
    begun = {where: [one["start"] for one in in_the_app(where, "start", 7)] for where in (without, home)}
    empty, full = in_the_app(without, "pane", 3), in_the_app(home, "pane")

    def put(name: str, values: list[float], unit: str = "ms") -> None:
        print(f"  {name:<52} {statistics.median(values):7.1f} {unit}  ({min(values):.0f} to {max(values):.0f})")

    print("the app, medians (smallest to largest)")
    put("start to the first picture, no library", begun[without])
    put("start to the first picture, with the library", begun[home])
    put("F6 to the list, no story in it (the pane is made)", [one["open"] for one in empty])
    put("F6 to the list, with the library", [one["open"] for one in full])
    put("F2, and F6 to the list again", [one["again"] for one in full])
    put("End to the last story, in the list", [one["end"] for one in full])
    put("a letter that every story has, to the result", [one["every_story"] for one in full])
    put("a letter of a rare word, to the result", [letter for one in full for letter in one["letters"]])
    put("Esc to all stories again", [one["all_again"] for one in full])
    put("another order", [order for one in full for order in one["orders"]])
    put("memory of the process before F6", [one["memory_before"] for one in full], "MB")
    put("memory of the process after all this (limit 120)", [one["memory"] for one in full], "MB")


def main(count: int) -> None:
    draw = random.Random(1)
    vocabulary = [
        "".join(draw.choices("bcdfghlmnprst", k=2) + draw.choices("aeiou", k=2) + draw.choices("klmnrst", k=2))
        for _ in range(8000)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "home" / "stories.db"
        began = time.perf_counter()
        with Library.open(path) as library:
            for start in range(0, count, 1000):
                library.add_all([made_story(draw, vocabulary, n) for n in range(start, min(start + 1000, count))])
            some = library.listing(most=1)[0]
        megabytes = sum(file.stat().st_size for file in path.parent.iterdir()) / 1e6
        print(
            f"{count:,} stories, {megabytes:.0f} MB, made in {time.perf_counter() - began:.1f} s; medians, ms (target {TARGET_MS})"
        )

        def opened(action: Callable[[Library], object]) -> Callable[[], None]:
            def once() -> None:
                with Library.open(path) as library:
                    action(library)

            return once

        rare, word = vocabulary[17], some.topic.split()[1]
        for name, action in {
            "open + first page of the list": lambda library: library.listing(most=50),
            "open + first page by name": lambda library: library.listing(order="name", most=50),
            "open + search, a rare word": lambda library: library.listing(Wanted(rare), most=50),
            "open + search, a word in every story": lambda library: library.listing(Wanted("the"), most=50),
            "open + search, three words": lambda library: library.listing(Wanted(f"the dog {word}"), most=50),
            "open + search, a phrase": lambda library: library.listing(Wanted('"was little"'), most=50),
            "open + search, begun word": lambda library: library.listing(Wanted("b"), most=50),
            "open + count of a search": lambda library: library.count(Wanted("the dog")),
            "open + one story with its tree": lambda library: library.get(some.id),
        }.items():
            print(f"  {name:<38} {milliseconds(opened(action)):7.1f}")
        with Library.open(path) as library:
            story = library.get(some.id)
            tree = story.tree.add(None, now=1.0, recipe=Recipe(seed=1))

            def grow() -> None:
                nonlocal story, tree
                tree = tree.grow(tree.current, " and a little more", now=2.0)  # type: ignore[arg-type]
                story = library.save(story, tree)

            print(f"  {'saving what was written in two seconds':<38} {milliseconds(grow, 50):7.1f}")
        with Library.open(path, full_text=False) as library:
            print(
                f"  {'search without an index, a rare word':<38} {milliseconds(lambda: library.listing(Wanted(rare), most=50)):7.1f}"
            )
        tell_of_the_app(path.parent, Path(folder) / "nothing")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
