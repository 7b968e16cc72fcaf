"""Stories written while a model trains, for the same prompts and seeds each time, so that one sees it learn.

They are drawn with a generator of their own, and nothing of what the run learns depends on them.
"""

from __future__ import annotations

from engine.checkpoints import Checkpoint
from engine.generation import generate
from engine.protocol import Finished, Token
from engine.runs import RunDirectory
from engine.settings import GenerationRequest, SamplingSettings
from engine.training.settings import TrainSettings


def write_samples(checkpoint: Checkpoint, settings: TrainSettings, run: RunDirectory, step: int) -> None:
    """One story a sample prompt into `samples.jsonl`; the model is left in training mode."""
    checkpoint.network.eval()
    sampling = SamplingSettings(temperature=0.8, top_k=50, seed=settings.seed, max_tokens=200)
    for text in settings.sample_prompts:
        head, _, topic = text.partition(":")
        if head in ("happy", "sad") and topic.strip():
            if checkpoint.prompt_style.name != "topic-ending":
                continue
            request = GenerationRequest(topic=topic.strip(), ending=head, sampling=sampling)  # type: ignore[arg-type]
        else:
            request = GenerationRequest(opening=text, sampling=sampling)
        story = "".join(event.text for event in generate(checkpoint, request) if isinstance(event, Token | Finished))
        run.sample(step, text, story, seed=settings.seed)
        run.event("sample", step, prompt=text)
    checkpoint.network.train()
