"""What a checkpoint that is tried is asked, and what came of it. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from engine import protocol
from engine.checkpoints.choices import Choices
from engine.settings import SAMPLING_PRESETS, GenerationRequest
from tinytales_tui.engine_client import Written

TOKENS = 160
"""How long a sample gets at most; enough to hear a model's voice and to measure its rate."""
TOPIC, OPENING = "a brave knight", "Once upon a time"
"""What is asked where a person has typed nothing in the Write pane."""
State = Literal["waiting", "loading", "writing", "done", "failed"]


@dataclass(frozen=True)
class Probe:
    """The same question for every checkpoint that is tried with it."""

    topic: str = TOPIC
    ending: Literal["happy", "sad"] = "happy"
    opening: str = OPENING
    """What a checkpoint goes on from that takes no topic."""
    seed: int = 7
    plainly: bool = False
    """Ask everyone to go on from the opening, since one of them takes no topic."""

    def request(self, checkpoint: protocol.CheckpointInfo, *, alike: bool) -> GenerationRequest:
        """The request; `alike` uses the same sampling for everyone, else each gets what it recommends."""
        base = SAMPLING_PRESETS["balanced"] if alike else checkpoint.sampling
        sampling = base.with_changes(seed=self.seed, max_tokens=TOKENS, min_tokens=0)
        if self.plainly or checkpoint.prompt_style == "plain":
            return GenerationRequest(opening=self.opening, sampling=sampling)
        return GenerationRequest(topic=self.topic, ending=self.ending, sampling=sampling)


@dataclass(frozen=True)
class Attempt:
    """One checkpoint's try, as far as it has come."""

    source: str
    name: str
    choices: Choices
    state: State = "waiting"
    checkpoint: protocol.CheckpointInfo | None = None
    load_s: float | None = None
    given: str = ""
    text: str = ""
    tokens: int = 0
    tokens_per_s: float | None = None
    """Measured by the engine over the whole sample; None until it has ended."""
    ttft_s: float | None = None
    reason: str = ""
    message: str = ""
    """Why there is no sample, in one sentence."""

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed")

    def on_event(self, event: object, number: int) -> Attempt:
        """The attempt after an event of the engine; `number` is the id of its generation."""
        match event:
            case protocol.Loaded():
                return replace(self, checkpoint=event.checkpoint, load_s=event.seconds)
            case Written(id=id) if id == number:
                return replace(self, text=self.text + event.text, tokens=self.tokens + event.tokens)
            case protocol.Finished(id=id) if id == number:
                return replace(
                    self,
                    state="done",
                    text=self.text + event.text,
                    tokens=event.tokens,
                    tokens_per_s=event.tokens_per_s or None,
                    ttft_s=event.ttft_s,
                    reason=event.reason,
                )
            case protocol.Failed(id=id) if id == number:
                return replace(self, state="failed", message=event.message)
        return self
