"""Stories written while a model trains, for the same prompts and seeds each time, so that one sees it learn.

They are drawn with a generator of their own, and nothing of what the run learns depends on them.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.checkpoints import Checkpoint
from engine.generation import generate
from engine.prompts import split_sample_prompt
from engine.protocol import Finished, Token
from engine.settings import GenerationRequest, SamplingSettings
from engine.training.settings import TrainSettings


def write_samples(checkpoint: Checkpoint, settings: TrainSettings) -> Iterator[tuple[str, str]]:
    """A (prompt, story) for each sample prompt that the model understands; the model is left in training mode."""
    checkpoint.network.eval()
    sampling = SamplingSettings(temperature=0.8, top_k=50, seed=settings.seed, max_tokens=200)
    for text in settings.sample_prompts:
        ending, words = split_sample_prompt(text)
        if ending is not None and checkpoint.prompt_style.name == "plain":
            continue
        if ending is not None:
            request = GenerationRequest(topic=words, ending=ending, sampling=sampling)
        else:
            request = GenerationRequest(opening=words, sampling=sampling)
        story = "".join(event.text for event in generate(checkpoint, request) if isinstance(event, Token | Finished))
        yield text, story
    checkpoint.network.train()
