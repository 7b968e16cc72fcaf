"""What `tinytales-tui stories replay` does: the engine in this process writes a story again. No Textual; torch once it writes."""

from __future__ import annotations

import dataclasses

from tinytales_tui.library.replaying import Replayed, Replayer, generated
from tinytales_tui.output import json_line, note, put, quiet
from tinytales_tui.report import DONE, FAILED, TRY_AGAIN
from tinytales_tui.stories_find import library


def replay_story(id: str, number: int | None, checkpoint: str | None, device: str | None, as_json: bool, be_quiet: bool) -> int:
    """Write every generated part of the story again, or one; the exit code says whether all of it is the same."""
    with library() as opened:
        story = opened.get(id)
    nodes = generated(story.tree, number)
    say = quiet if be_quiet else note
    skipped = 0 if number is not None else len(story.tree.path(story.tree.current)) - len(nodes)
    if skipped:
        say(f"{skipped} of its parts were typed or edited, so there is nothing to compare in them.")
    replayer = Replayer(checkpoint, device)
    results: list[Replayed] = []
    for node in nodes:
        results.append(replayer.replay(story.tree, node))
        if not as_json:
            _put(results[-1])
    same = all(result.same for result in results)
    if as_json:
        put(json_line({"id": story.id, "same": same, "nodes": [dataclasses.asdict(result) for result in results]}).rstrip("\n"))
    return DONE if same else TRY_AGAIN if all(result.same or result.network for result in results) else FAILED


def _put(result: Replayed) -> None:
    if result.trouble:
        put(f"node {result.node}: {result.trouble}")
        return
    if result.same:
        put(f"node {result.node}: the same, {result.tokens:,} {result.by}")
        return
    put(f"node {result.node}: not the same; {result.where}")
    for line in result.otherwise:
        put(f"  {line}")
    if not result.otherwise:
        put("  nothing that the recipe tells is otherwise")
    if result.untold:
        put(f"  the recipe does not tell: {', '.join(result.untold)}")
