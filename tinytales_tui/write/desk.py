"""What lies on the writer's desk: the stories of this sitting, which one is in front, and the one being written. Plain data.

It takes the engine's events and answers what the screen shows; it knows neither the screen nor the engine's process.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from engine import protocol
from engine.settings import GenerationRequest
from tinytales_tui.chosen import kept_choices
from tinytales_tui.engine_client import Written
from tinytales_tui.story import StoryRecord, written_with
from tinytales_tui.text import one_line


@dataclass(frozen=True)
class Entry:
    """One story of this sitting with what was measured of it; None where nothing was."""

    record: StoryRecord
    request: GenerationRequest | None = None
    """What was asked; None for a story that was restored."""
    prompt_tokens: int | None = None
    context: int | None = None
    number: int = 0
    """Its own on this desk: the id of its generation; below 0 for a story that was restored."""
    story: int = 0
    """The `number` of the entry that its story began with: a retry and what goes on are of the same story."""
    after: int | None = None
    """The `number` of the entry that it goes on from."""
    checkpoint: protocol.CheckpointInfo | None = None
    """What it was written with, as the engine told it."""
    started: protocol.Started | None = None
    drawn: tuple[tuple[int, int, float], ...] = ()
    """Its tokens, as `Written.drawn`."""

    @property
    def context_left(self) -> int | None:
        """Tokens until the model's context is full, after which it forgets the beginning."""
        if self.prompt_tokens is None or self.context is None:
            return None
        return max(self.context - self.prompt_tokens - self.record.tokens, 0)


@dataclass
class Writing:
    """The generation under way."""

    id: int
    place: int
    """Index of its entry."""
    sent: bool = False
    """The engine has been asked; before that the request waits for an engine."""
    started: bool = False
    first_time: float | None = None


class Desk:
    """The entries in the order they came, a place among them (-1: an empty page), and the generation under way."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.place = -1
        self.writing: Writing | None = None
        self.generations: dict[int, Entry] = {}
        """Every entry of this sitting that has come to something, also where it is not among the entries any more; by `number`."""
        self.revision = 0
        """Goes up with every change of what would be kept."""

    @property
    def current(self) -> Entry | None:
        return self.entries[self.place] if self.place >= 0 else None

    @property
    def record(self) -> StoryRecord | None:
        return self.current.record if self.current else None

    @property
    def can_undo(self) -> bool:
        return self.place >= 0

    @property
    def can_redo(self) -> bool:
        return self.place + 1 < len(self.entries)

    # Asking

    def begin(
        self,
        number: int,
        request: GenerationRequest,
        checkpoint: protocol.CheckpointInfo | None,
        before: StoryRecord | None = None,
        retry: bool = False,
    ) -> None:
        """A request goes out with this id; its story comes to the front, and undone stories are let go.

        `before` is what it goes on from; with `retry`, it stands beside the entry in front.
        """
        front = self.current
        self.let_go()
        story, after = number, None
        if front is not None and (retry or before is not None):
            story, after = front.story, front.after if retry else front.number
        record = StoryRecord(
            prompt=request.topic,
            ending=request.ending,
            story="",
            seed=request.sampling.seed,
            checkpoint=checkpoint.source if checkpoint else "",
            choices=kept_choices(checkpoint.choices if checkpoint else None),
            sampling=request.sampling.to_json(),
            opening=request.opening,
            words=request.words,
            features=request.features,
            sentence=request.sentence,
            before=before,
        )
        self._push(Entry(record, request, number=number, story=story, after=after, checkpoint=checkpoint))
        self.writing = Writing(number, self.place)

    def amend(self, request: GenerationRequest) -> None:
        """The request that waits goes out in this form instead: the checkpoint that was still loading asked for it."""
        assert self.writing is not None
        entry = self.entries[self.writing.place]
        record = dataclasses.replace(
            entry.record,
            prompt=request.topic,
            ending=request.ending,
            sampling=request.sampling.to_json(),
            words=request.words,
            features=request.features,
            sentence=request.sentence,
        )
        self._update(dataclasses.replace(entry, record=record, request=request))

    def restore(self, record: StoryRecord) -> None:
        """A kept story comes to the front."""
        self.let_go()
        number = min([0, *self.generations]) - 1
        self._push(Entry(record, number=number, story=number))

    def let_go(self, reason: str | None = "cancelled") -> None:
        """Listen no more to the generation under way; what it has written stays."""
        if self.writing is None:
            return
        place = self.writing.place
        self.writing = None
        entry = self.entries[place]
        if not entry.record.story:  # nothing came of it, and that is not worth an undo
            self.entries = self.entries[:place]
            self.generations.pop(entry.number, None)
            self.place = min(self.place, place - 1)
        elif entry.record.stop_reason is None:
            self.entries[place] = dataclasses.replace(entry, record=dataclasses.replace(entry.record, stop_reason=reason))
            self.generations[entry.number] = self.entries[place]
        self.revision += 1

    def _push(self, entry: Entry) -> None:
        self.entries = [*self.entries[: self.place + 1], entry]
        self.place = len(self.entries) - 1
        self.generations[entry.number] = entry
        self.revision += 1

    # Undo and redo

    def undo(self) -> bool:
        """Show the story before this one, at last the empty page."""
        count = len(self.entries)
        self.let_go()
        if len(self.entries) < count:
            return True  # the empty beginning that was let go was the undoing
        if not self.can_undo:
            return False
        self.place -= 1
        self.revision += 1
        return True

    def redo(self) -> bool:
        if not self.can_redo:
            return False
        self.let_go()
        self.place = min(self.place + 1, len(self.entries) - 1)
        self.revision += 1
        return True

    # What the engine says. Each returns whether it concerned the story that is being written.

    def on_started(self, event: protocol.Started) -> bool:
        if not self._mine(event.id):
            return False
        assert self.writing is not None
        self.writing.started = True
        entry = self.entries[self.writing.place]
        sampling = entry.record.sampling | {"seed": event.seed}
        record = dataclasses.replace(entry.record, seed=event.seed, sampling=sampling, **written_with(event))
        told = {"prompt_tokens": event.prompt_tokens, "context": event.context, "started": event}
        self._update(dataclasses.replace(entry, record=record, **told))
        return True

    def on_written(self, event: Written) -> bool:
        if not self._mine(event.id) or event.story != 0:
            return False
        assert self.writing is not None
        entry = self.entries[self.writing.place]
        tokens = entry.record.tokens + event.tokens
        if self.writing.first_time is None:
            self.writing.first_time = event.first_time
        spent = event.last_time - self.writing.first_time
        record = dataclasses.replace(
            entry.record,
            story=entry.record.story + event.text,
            tokens=tokens,
            ttft_s=self.writing.first_time,
            tokens_per_s=(tokens - 1) / spent if tokens > 1 and spent > 0 else None,
        )
        self._update(dataclasses.replace(entry, record=record, drawn=entry.drawn + event.drawn))
        return True

    def on_finished(self, event: protocol.Finished) -> bool:
        if not self._mine(event.id) or event.story != 0:
            return False
        assert self.writing is not None
        entry = self.entries[self.writing.place]
        record = dataclasses.replace(
            entry.record,
            story=entry.record.story + event.text,
            tokens=event.tokens,
            stop_reason=event.reason,
            seed=event.seed,
            ttft_s=event.ttft_s,
            tokens_per_s=event.tokens_per_s or None,
        )
        self._update(dataclasses.replace(entry, record=record, prompt_tokens=event.prompt_tokens))
        self.writing = None
        return True

    def on_checkpoint(self, checkpoint: protocol.CheckpointInfo) -> None:
        """A checkpoint was loaded: a story that was asked for before is written with it."""
        if self.writing is not None and not self.writing.started:
            entry = self.entries[self.writing.place]
            record = dataclasses.replace(entry.record, checkpoint=checkpoint.source, choices=kept_choices(checkpoint.choices))
            self._update(dataclasses.replace(entry, record=record, checkpoint=checkpoint))

    def _mine(self, number: int) -> bool:
        return self.writing is not None and self.writing.id == number

    def _update(self, entry: Entry) -> None:
        assert self.writing is not None
        self.entries[self.writing.place] = self.generations[entry.number] = entry
        self.revision += 1


def heading(record: StoryRecord) -> str:
    """What stands above a story: what was asked for, where the story itself does not begin with it."""
    if record.ending is None:
        return ""
    fields = (", ".join((*record.words, *record.features)), record.sentence)
    about = one_line(record.prompt or " · ".join(filter(None, fields)), 200)
    return f"{about}, with a {record.ending} ending"
