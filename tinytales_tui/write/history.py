"""Undo and redo: what was on the desk at each step, as whole trees (which share all that did not change). Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from tinytales_tui.library.tree import Tree


@dataclass(frozen=True)
class View:
    """What was in front at one time."""

    front: int | None
    """The desk's number of the story; None: the empty page."""
    tree: Tree | None = None
    """As it was."""

    def same(self, other: View) -> bool:
        """Whether both show the same, and nothing else differs."""
        if self.front != other.front or self.tree is None or other.tree is None:
            return self.front == other.front and self.tree is other.tree
        return (self.tree.current, self.tree.nodes) == (other.tree.current, other.tree.nodes)


@dataclass
class History:
    """Views before the present one, and those that were undone."""

    past: list[View] = field(default_factory=list)
    future: list[View] = field(default_factory=list)

    def note(self, present: View) -> list[View]:
        """Something is about to change; returns the undone views, which can no longer be come back to."""
        lost, self.future = self.future, []
        if not self.past or not self.past[-1].same(present):  # a request that came to nothing is not a step of its own
            self.past.append(present)
        return lost

    @property
    def size(self) -> tuple[int, int]:
        return len(self.past), len(self.future)

    def take_last(self) -> View:
        """What was noted last came to nothing: this is how it was before."""
        return self.past.pop()

    def back(self, present: View) -> View | None:
        """The view before; None where there is none."""
        if not self.past:
            return None
        self.future.append(present)
        return self.past.pop()

    def forward(self, present: View) -> View | None:
        """The view that was undone last."""
        if not self.future:
            return None
        self.past.append(present)
        return self.future.pop()
