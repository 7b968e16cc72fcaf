"""What the engine client hands on: the worker's own events, its tokens merged into pieces of text, and word of its loss.

A fast model tells thousands of tokens a second; between two deliveries there is at most one piece for each story, however many
stories are written at once. Knows no process, no Textual and no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from engine import protocol


@dataclass(frozen=True)
class WorkerLost:
    """The worker is gone; `message` is one sentence for a person."""

    message: str


@dataclass(frozen=True)
class Written:
    """Tokens of one story that came close together, merged into one piece of text."""

    id: int
    story: int
    text: str
    tokens: int
    first_time: float
    """Seconds from the start of the generation to the first of the tokens."""
    last_time: float
    """The same for the last of them."""
    drawn: tuple[tuple[int, int, float], ...] = ()
    """Of each token: its id, how many characters of the text came out with it, and its log probability."""


ClientEvent = protocol.Event | Written | WorkerLost


@dataclass
class _Growing:
    """A `Written` to come."""

    id: int
    story: int
    first_time: float
    last_time: float = 0.0
    texts: list[str] = field(default_factory=list)
    drawn: list[tuple[int, int, float]] = field(default_factory=list)

    def take(self, token: protocol.Token) -> None:
        self.texts.append(token.text)
        self.drawn.append((token.token, len(token.text), token.logprob))
        self.last_time = token.time

    def written(self) -> Written:
        text = "".join(self.texts)
        return Written(self.id, self.story, text, len(self.drawn), self.first_time, self.last_time, tuple(self.drawn))


class Gathering:
    """Events on their way, in order. Tokens join the piece of their story, unless something else of that story came after it."""

    def __init__(self) -> None:
        self._events: list[ClientEvent | _Growing] = []
        self._growing: dict[tuple[int, int], _Growing] = {}

    def put(self, event: ClientEvent) -> None:
        if isinstance(event, protocol.Token):
            key = event.id, event.story
            growing = self._growing.get(key)
            if growing is None:
                self._growing[key] = growing = _Growing(*key, event.time)
                self._events.append(growing)
            growing.take(event)
            return
        if isinstance(event, protocol.Finished):
            self._growing.pop((event.id, event.story), None)
        else:
            about = getattr(event, "id", None)  # None: about the worker as a whole
            self._growing = {key: growing for key, growing in self._growing.items() if about not in (None, key[0])}
        self._events.append(event)

    def drain(self) -> list[ClientEvent]:
        """All that came since the last time."""
        events = [event.written() if isinstance(event, _Growing) else event for event in self._events]
        self._events.clear()
        self._growing.clear()
        return events
