"""What lies on the writer's desk: the stories of this sitting, each a tree, the one in front, and what is being written. Plain data.

It takes the engine's events and answers what the screen shows; it knows neither the screen nor the engine's process. Whatever changes
goes through `History`, so that typing, generations and moves between branches are all undone in the same way.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from engine import protocol
from engine.settings import GenerationRequest
from tinytales_tui.engine_client import Written
from tinytales_tui.generation import Generation
from tinytales_tui.library.records import record_of, tree_of
from tinytales_tui.library.runs import Run
from tinytales_tui.library.story import Story
from tinytales_tui.library.tokens import Tokens
from tinytales_tui.library.tree import Edit, Node, Tree
from tinytales_tui.story import StoryRecord
from tinytales_tui.write.draft import NOTHING, Draft, Go, Writing, given_words
from tinytales_tui.write.history import History, View

LEAST_LOSS = 24
"""Letters; whoever takes out as many of what was typed at another time begins a branch, so that they are not lost."""


class Desk:
    """Stories by a number of their own, which is in front (None: an empty page), and the request under way."""

    def __init__(self) -> None:
        self.drafts: dict[int, Draft] = {}
        self.front: int | None = None
        self.writing: Writing | None = None
        self.generations: dict[tuple[int, int], Generation] = {}
        """What is known of each generation of this sitting, by story and node."""
        self.revision = 0
        """Goes up with every change of what would be kept."""
        self._history = History()
        self._go: Go | None = None
        self._typed: set[tuple[int, int]] = set()
        """Nodes that were typed in this sitting, by story and node."""
        self._record: tuple[Tree, StoryRecord | None] = (NOTHING, None)

    # Looking

    @property
    def tree(self) -> Tree:
        """Of the story in front; empty on the empty page."""
        return NOTHING if self.front is None else self.drafts[self.front].tree

    @property
    def node(self) -> Node | None:
        """The one in front."""
        return None if self.tree.current is None else self.tree.node(self.tree.current)

    @property
    def text(self) -> str:
        """As the page shows it."""
        return self.tree.text(self.tree.current)

    @property
    def generation(self) -> Generation | None:
        """What is known of the node in front, if it was generated in this sitting."""
        node = self.node
        return self.generations.get((self.front, node.number)) if node is not None and self.front is not None else None

    @property
    def record(self) -> StoryRecord | None:
        """The story in front as batch mode would tell it; None on the empty page."""
        tree, node = self.tree, self.node
        if node is None or (node.recipe is None and not self.text):
            return None
        if self._record[0] is not tree:
            self._record = tree, record_of(tree, tree.current)
        return self._record[1]

    @property
    def can_undo(self) -> bool:
        return bool(self._history.past)

    @property
    def can_redo(self) -> bool:
        return bool(self._history.future)

    @property
    def last_generated(self) -> Node | None:
        """The newest generation on the way to what is in front."""
        path = self.tree.path(self.tree.current)
        return next((node for node in reversed(path) if node.recipe is not None), None)

    def writes(self, story: int | None, node: int | None) -> bool:
        """Whether this node is being written."""
        return self.writing is not None and self.writing.story == story and node in self.writing.nodes

    # Asking

    def begin(
        self,
        number: int,
        request: GenerationRequest,
        checkpoint: protocol.CheckpointInfo | None,
        *,
        below: int | None = None,
        new: bool = True,
    ) -> None:
        """A request goes out with this id: for a new story, or (`new` false) for what goes on below a node of the story in front."""
        generations = [Generation(number, request, row, checkpoint) for row in range(request.count)]
        nodes = self._put_below(generations, below, new)
        self.writing = Writing(number, self._story, tuple(nodes), self._history.size)

    def keep(self, generations: Sequence[Generation], chosen: int, *, below: int | None = None, new: bool = True) -> None:
        """Stories that were written elsewhere become branches where `begin` would have put them; the chosen one comes to the front."""
        below = self._let_go_above(below)
        self._note()
        if new or self.front is None:
            self.front, below = generations[chosen].id, None
            self.drafts[self.front] = Draft(NOTHING)
        front = None
        for place, generation in enumerate(generations):
            tree, parent, given = self.tree, below, given_words(generation.request)
            if given and given != tree.text(below):
                same = next((node for node in tree.children(None) if node.recipe is None and node.text == given), None)
                tree = tree if same is not None else tree.write(None, given, now=time.time())
                parent = same.number if same is not None else tree.current
            tree = tree.add(parent, now=time.time(), recipe=generation.recipe)
            key = self._story, max(tree.nodes)
            self._put(self._story, tree)
            self.generations[key] = generation
            self._grow(key, Generation(generation.id, generation.request, generation.row), generation)
            self._change(*key, stop_reason=generation.stop_reason)
            front = key[1] if place == chosen else front
        self._put(self._story, self.tree.go(front))

    def _put_below(self, generations: Sequence[Generation], below: int | None, new: bool) -> list[int]:
        """A new node for each, of a new story or below a node of the story in front; the first is in front."""
        below = self._let_go_above(below)
        self._note()
        if new or self.front is None:
            tree, below = NOTHING, None
            if given := given_words(generations[0].request):
                tree = tree.write(None, given, now=time.time())
                below = tree.current
            self.front = generations[0].id
            self.drafts[self.front] = Draft(tree)
        tree, nodes = self.tree, []
        for generation in generations:
            tree = tree.add(below, now=time.time(), recipe=generation.recipe)
            nodes.append(max(tree.nodes))
            self.generations[self._story, nodes[-1]] = generation
        self._put(self._story, tree.go(nodes[0]))
        return nodes

    def amend(self, request: GenerationRequest) -> bool:
        """The request that waits goes out in this form instead: the checkpoint that was still loading asked for it.

        Whether the story begins with other words now.
        """
        self._regenerate(request=request)
        assert self.writing is not None
        story, nodes = self.writing.story, self.writing.nodes
        tree = self.drafts[story].tree
        given = given_words(request)
        if not given or given == tree.text_before(nodes[0]):
            return False
        self._put(story, tree.begin_with(nodes, given, now=time.time()))
        return True

    def on_checkpoint(self, checkpoint: protocol.CheckpointInfo) -> None:
        """A checkpoint was loaded: a story that was asked for before is written with it."""
        if self.writing is not None and not self.writing.started:
            self._regenerate(checkpoint=checkpoint)

    def _regenerate(self, **changes: object) -> None:
        assert self.writing is not None
        for node in self.writing.nodes:
            key = self.writing.story, node
            self.generations[key] = dataclasses.replace(self.generations[key], **changes)
            self._change(*key, recipe=self.generations[key].recipe)

    def let_go(self, reason: str | None = "cancelled", *, forget: bool = False) -> None:
        """Listen no more to what is being written; what there is of it stays, and where nothing came of it, it goes.

        With `forget`, a request that came to nothing is as if it had never been; else its story stays in front.
        """
        writing, self.writing = self.writing, None
        if writing is None:
            return
        tree = self.drafts[writing.story].tree
        for node in writing.nodes:
            key = writing.story, node
            if tree.node(node).text or self.generations[key].stop_reason not in (None, "cancelled"):
                if not self.generations[key].ended:
                    self.generations[key] = dataclasses.replace(self.generations[key], stopped=True)
                    tree = tree.change(node, stop_reason=reason, recipe=self.generations[key].recipe)
            else:
                tree = tree.drop(node)
                del self.generations[key]
        nothing_came = not any(node in tree.nodes for node in writing.nodes)
        if forget and nothing_came and self._history.size == writing.noted and self.tree.current in writing.nodes:
            self._as_never_asked(writing.story, tree)
        else:
            self._put(writing.story, tree)

    def _let_go_above(self, node: int | None) -> int | None:
        """Let go, and the node, or the nearest on the way to it that is still there then."""
        way = [part.number for part in self.tree.path(node)]
        self.let_go()
        return next((number for number in reversed(way) if number in self.tree.nodes), None)

    def _as_never_asked(self, story: int, tree: Tree) -> None:
        view = self._history.take_last()
        self.front = view.front
        if view.front == story and view.tree is not None:
            self._put(story, tree.as_at(view.tree))
        else:  # the request had begun the story
            del self.drafts[story]
            self.revision += 1

    # What the engine says

    def on_event(self, event: object) -> int | None:
        """The node that the event was about, where it is about what is being written."""
        writing = self.writing
        if writing is None or getattr(event, "id", None) != writing.id:
            return None
        found = None
        for row, node in enumerate(writing.nodes):
            key = writing.story, node
            before = self.generations[key]
            after = before.on_event(event)
            if after is before:
                continue
            found = node if found is None or row == getattr(event, "story", 0) else found
            self.generations[key] = after
            self._grow(key, before, after)
            if not isinstance(event, Written):
                self._change(*key, recipe=after.recipe, stop_reason=after.stop_reason)
        if isinstance(event, protocol.Started):
            writing.started = True
        if all(self.generations[writing.story, node].ended for node in writing.nodes):
            self.let_go(forget=True)
        return found

    def _grow(self, key: tuple[int, int], before: Generation, after: Generation) -> None:
        text, drawn = after.text[len(before.text) :], after.drawn[len(before.drawn) :]
        if not text and not drawn:
            return
        tree, now = self.drafts[key[0]].tree, time.time()
        tokens = Tokens.of(drawn)
        letters = tokens.letters
        if tokens and letters <= len(text):
            tree, text = tree.grow(key[1], text[:letters], tokens, now=now), text[letters:]
        if text:
            tree = tree.grow(key[1], text, now=now)
        self._put(key[0], tree)

    # What the writer does

    def edit(self, edit: Edit, now: float | None = None) -> None:
        """Change the text in front; a request under way is let go first."""
        self.let_go()
        now = time.time() if now is None else now
        goes_on = self._go is not None and self._go.goes_on(self.front, self.tree.current, edit, now)
        if not goes_on:
            self._note()
        if self.front is None:
            self.front = min([0, *self.drafts]) - 1
            self.drafts[self.front] = Draft(NOTHING)
        mine = (self._story, self.tree.current) in self._typed
        tree = self.tree.edit(self.tree.current, edit, now=now, same_go=mine and (goes_on or edit.end - edit.start < LEAST_LOSS))
        if tree.current is not None and tree.node(tree.current).recipe is None:
            self._typed.add((self._story, tree.current))
        self._put(self._story, tree)
        self._go = Go(self._story, tree.current, edit.start + len(edit.text), edit.start == edit.end, now)

    def cut_to(self, letters: int) -> None:
        """The text in front ends after so many letters from now on, on a branch of its own where that is less than there is."""
        if letters < len(self.text):
            self.let_go()
            self._note()
            self._put(self._story, self.tree.edit(self.tree.current, Edit(letters, len(self.text), ""), now=time.time()))

    def fork(self, number: int, letters: int, run: Run | None) -> None:
        """Another branch beside a node: its text up to so many letters, and then what was chosen instead."""
        self.let_go()
        self._note()
        self._put(self._story, self.tree.until(number, letters, run, now=time.time()))

    def go(self, number: int | None) -> bool:
        """Bring another node of the story to the front; whether it is another."""
        if self.front is None or number == self.tree.current:
            return False
        self._note()
        self._put(self._story, self.tree.go(number))
        return True

    def mark(self, number: int, **marks: object) -> None:
        """Bookmark or rate a node."""
        self._note()
        self._change(self._story, number, **marks)

    def delete(self, number: int) -> None:
        """Hide a branch; a request that writes in it is let go."""
        if self.writing is not None and any(
            node.number == number for written in self.writing.nodes for node in self.tree.path(written)
        ):
            self.let_go()
        if number in self.tree.nodes:
            self._note()
            self._put(self._story, self.tree.delete(number))

    def bring_back(self, number: int) -> None:
        """Take `delete` back; what is in front stays there."""
        self._note()
        self._put(self._story, self.tree.restore(number).go(self.tree.current))

    def open(self, story: Story, tree: Tree | None = None) -> None:
        """A story of the library comes to the front (`tree`: as it goes on from here, where that is more than the library has)."""
        self.let_go()
        self._note()
        self.front = min([0, *self.drafts]) - 1
        self.drafts[self.front] = Draft(tree or story.tree, story)
        self.revision += 1

    def bring(self, number: int, node: int | None) -> bool:
        """A story that lies here comes to the front, as it reads at a node; whether there is such a story with such a node."""
        if number not in self.drafts or (node is not None and node not in self.drafts[number].tree.nodes):
            return False
        if (number, node) != (self.front, self.tree.current):
            self._note()
            self.front = number
            self._put(number, self.tree.go(node))
        return True

    def number_of(self, id: str) -> int | None:
        """The story that was taken from the library under this id."""
        return next((n for n, draft in self.drafts.items() if draft.origin is not None and draft.origin.id == id), None)

    @property
    def begun_by(self) -> Node | None:
        """The first generation on the way to what is in front, else the first of the story."""
        tree = self.tree
        nodes = (*tree.path(tree.current), *tree.nodes.values())
        return next((node for node in nodes if node.recipe is not None), None)

    def restore(self, record: StoryRecord) -> None:
        """A kept story comes to the front that no library knows."""
        self.add(tree_of(record))

    def add(self, tree: Tree) -> None:
        """A story that was written elsewhere comes to the front."""
        self.let_go()
        self._note()
        self.front = min([0, *self.drafts]) - 1
        self.drafts[self.front] = Draft(tree)
        self.revision += 1

    # Undo and redo

    def undo(self) -> bool:
        """Show what was there before, at last the empty page."""
        size = self._history.size
        self.let_go(forget=True)
        if self._history.size != size:
            return True  # the empty beginning that was let go was the undoing
        return self._show(self._history.back(self._view()))

    def redo(self) -> bool:
        self.let_go()
        return self._show(self._history.forward(self._view()))

    def _show(self, view: View | None) -> bool:
        if view is None:
            return False
        self._go = None
        self.front = view.front if view.front is None or view.front in self.drafts else None
        if self.front is not None and view.tree is not None:
            self._put(self._story, self.tree.as_at(view.tree))
        self.revision += 1
        return True

    def _view(self) -> View:
        return View(self.front, None if self.front is None else self.tree)

    def _note(self) -> None:
        """Something is about to change. What was typed and undone stays as a branch."""
        self._go = None
        for lost in self._history.note(self._view()):
            if lost.front in self.drafts and lost.tree is not None:
                self._put(lost.front, self.drafts[lost.front].tree.keeping(lost.tree))  # type: ignore[arg-type]

    @property
    def _story(self) -> int:
        assert self.front is not None
        return self.front

    def _change(self, story: int, node: int, **fields: object) -> None:
        self._put(story, self.drafts[story].tree.change(node, **fields))

    def _put(self, story: int, tree: Tree) -> None:
        self.drafts[story] = dataclasses.replace(self.drafts[story], tree=tree)
        self.revision += 1
