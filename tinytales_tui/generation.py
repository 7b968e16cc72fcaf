"""What is known of one story that the engine writes, from the request to its end: every event makes another of these. Plain data.

The desk, the candidates and the columns of a comparison all follow the engine with it. Knows no Textual and no torch.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from engine import protocol
from engine.settings import GenerationRequest
from tinytales_tui.chosen import kept_choices
from tinytales_tui.engine_client import Written
from tinytales_tui.library.recipe import Recipe
from tinytales_tui.library.tokens import Tokens


@dataclass(frozen=True)
class Generation:
    """One story of one request."""

    id: int
    """Of the request."""
    request: GenerationRequest
    row: int = 0
    """Which of the request's stories."""
    checkpoint: protocol.CheckpointInfo | None = None
    """What it is written with; None until that is known."""
    started: protocol.Started | None = None
    text: str = ""
    drawn: tuple[tuple[int, int, float], ...] = ()
    """Its tokens, as `Written.drawn`."""
    first_time: float | None = None
    """Seconds from the request to the first token, and to the last one so far."""
    last_time: float | None = None
    finished: protocol.Finished | None = None
    stopped: bool = False
    """Nobody listens to it any more, though the engine has not said how it ended."""

    def on_event(self, event: object) -> Generation:
        """After an event of the engine; itself where the event is about something else, or it has ended."""
        if getattr(event, "id", None) != self.id or self.ended:
            return self
        match event:
            case protocol.Started():
                return dataclasses.replace(self, started=event)
            case Written(story=self.row):
                first = event.first_time if self.first_time is None else self.first_time
                return dataclasses.replace(
                    self,
                    text=self.text + event.text,
                    drawn=self.drawn + event.drawn,
                    first_time=first,
                    last_time=event.last_time,
                )
            case protocol.Finished(story=self.row):
                return dataclasses.replace(self, text=self.text + event.text, finished=event)
        return self

    @property
    def ended(self) -> bool:
        return self.finished is not None or self.stopped

    @property
    def stop_reason(self) -> str | None:
        """`engine.settings.StopReason`; None while it is written, or where it was cut short before the engine could say."""
        if self.finished is not None:
            return self.finished.reason
        return "cancelled" if self.stopped else None

    @property
    def tokens(self) -> Tokens:
        return Tokens.of(self.drawn)

    @property
    def seed(self) -> int | None:
        """What it is drawn with."""
        if self.started is not None:
            return self.started.seed + self.row
        return None if self.request.sampling.seed is None else self.request.sampling.seed + self.row

    @property
    def ttft_s(self) -> float | None:
        """Seconds to the first token."""
        return self.finished.ttft_s if self.finished is not None and self.drawn else self.first_time

    @property
    def tokens_per_s(self) -> float | None:
        """Decode rate as measured so far."""
        if self.finished is not None:
            return self.finished.tokens_per_s or None
        if self.first_time is None or self.last_time is None or self.last_time <= self.first_time:
            return None
        return (len(self.drawn) - 1) / (self.last_time - self.first_time)

    @property
    def context_left(self) -> int | None:
        """Tokens until the model's context is full, after which it forgets the beginning."""
        if self.started is None:
            return None
        return max(self.started.context - self.started.prompt_tokens - len(self.drawn), 0)

    @property
    def perplexity(self) -> float | None:
        """e to the mean of -log p of its tokens, by the model itself before temperature and cuts."""
        told = [logprob for _, _, logprob in self.drawn if logprob == logprob]
        return math.exp(min(-sum(told) / len(told), 700.0)) if told else None

    @property
    def recipe(self) -> Recipe:
        """What it takes to write it again, as far as the engine has told it."""
        request, started, checkpoint = self.request, self.started, self.checkpoint
        how: dict[str, Any] = {}
        if started is not None:
            how = {"step": started.step, "precision": started.precision, "threads": started.threads}
            how["precision_loss"] = started.loss
        if request.count > 1:
            how |= {"batch": request.count, "row": self.row}
        return Recipe(
            topic=request.topic,
            ending=request.ending,
            words=request.words,
            features=request.features,
            sentence=request.sentence,
            sampling=request.sampling.to_json() | {"seed": self.seed},
            seed=self.seed,
            checkpoint=checkpoint.source if checkpoint else "",
            choices=kept_choices(checkpoint.choices if checkpoint else None),
            device=checkpoint.device if checkpoint else "",
            tail=len(request.tail),
            ttft_s=self.ttft_s,
            tokens_per_s=self.tokens_per_s,
            **how,
        )
