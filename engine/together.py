"""Several requests written at once with one checkpoint, in turns: a token of each after the other, each as if it were alone.

A compiled step has one room, so every request but the first gets a step of its own over the same weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from engine.checkpoints.native import Checkpoint
from engine.generation import turns
from engine.protocol import Event, Generate


def together(
    checkpoint: Checkpoint,
    parts: Sequence[Generate],
    cancelled: Callable[[int], bool] = lambda number: False,
    failed: Callable[[int, Exception], Event] | None = None,
) -> Iterator[Event]:
    """The events of all parts, each with its own id and in the order of `engine.generate`.

    `cancelled` is asked with a part's id before each of its tokens. A part that raises ends alone: what `failed` makes of it is told,
    or it is raised where nobody says so.
    """
    made: list[Checkpoint] = []
    try:
        going = {}
        for place, part in enumerate(parts):
            own = checkpoint
            if place and checkpoint.compiled is not None:
                own = dataclasses.replace(checkpoint, compiled=checkpoint.compiled.another())
                made.append(own)
            going[place] = turns(own, part.request, lambda number=part.id: cancelled(number), part.id)
        while going:
            for place in list(going):
                try:
                    yield from next(going[place])
                except StopIteration:
                    del going[place]
                except Exception as error:
                    if failed is None:
                        raise
                    del going[place]
                    yield failed(parts[place].id, error)
    finally:
        for own in made:
            own.compiled.close()  # type: ignore[union-attr]
