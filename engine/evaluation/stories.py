"""How well a checkpoint writes: stories for fixed prompts, and what can be measured of them without a reader.

A checkpoint that knows topics and endings writes about fifty topics with both endings; a plain one goes on from fixed openings. Story i
has seed `seed + i`, so the same call gives the same stories (same torch, device, threads). An asked ending counts as met when an
`EndingJudge` finds it the likelier one; how often that judge agrees with people is told beside it.
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.checkpoints.native import Checkpoint
from engine.evaluation import measures
from engine.evaluation.endings import EndingJudge
from engine.generation import generate
from engine.postprocess import tidy
from engine.protocol import Finished, Token
from engine.settings import SAMPLING_PRESETS, Ending, GenerationRequest, SamplingSettings, StopReason

TOPICS = tuple(
    """a brave knight; a lost dog; a little girl and her kite; a boy who finds a shiny stone; a rabbit who is afraid of the dark;
    a bird with a broken wing; two friends building a sandcastle; a boy who does not want to share his toys; a cat and a mouse;
    a girl who loves to paint; a bear who is looking for honey; a magic tree in the forest; a train that is late; a red balloon;
    a frog who cannot jump; a girl planting flowers with her grandmother; a dragon who wants a friend; a boy learning to ride a bike;
    a duck that is lost in the rain; a little boat on the sea; a selfish king; a girl who tells a lie; a family going to the beach;
    a puppy and a ball; a boy who climbs a tall tree; a snowman who is afraid of the sun; a squirrel saving nuts for the winter;
    a girl who breaks her mother's vase; a fish who wants to see the world; an old man and his garden; a mouse who finds some cheese;
    a boy who loses his hat in the wind; a princess in a big castle; a turtle racing a rabbit; a butterfly in a jar;
    a girl baking a cake with her dad; a monkey stealing bananas; a robot who learns to dance; a boy playing with matches;
    a kitten stuck on a roof; a farmer and his cow; a girl who is scared of the doctor; a fox who tricks a hen; a new boy at school;
    a broken toy car; a picnic with too many ants; a star that fell from the sky; a lonely whale; a boy who eats too much candy;
    a treasure map""".replace("\n", " ").split(";")
)
TOPICS = tuple(" ".join(topic.split()) for topic in TOPICS)
"""What a person might type; none of them is taken from the training stories."""

OPENINGS = tuple(
    " ".join(words.split())
    for words in """Once upon a time, there was a little girl who; One day, a boy named Tom found; Once there was an old bear. He;
    It was a rainy day, and; The big red ball rolled; "Look!" said the mouse. "There is; Lily and her mom went to;
    In a house by the sea lived; The dog was very hungry, so; A little bird sat in a tree. She; Tim had a new toy car. He wanted;
    The sun was hot, and the farmer; Two friends were playing in the park when; Once upon a time, a cat and a dog;
    Ben was scared of the dark. One night,; The robot did not know how to; Mia wanted to bake a cake, but;
    There was a hole in the fence. Sam; The king was angry because; A frog jumped into the boat and; Every morning, the old man;
    The kite flew higher and higher until;
    Anna lost her favourite doll. She looked; "Can I play with you?" asked; Deep in the forest, there was""".split(";")
)
"""What a plain checkpoint goes on from; written for this."""

LONGEST = 300
"""Tokens a story may have here."""
ENDING_METHOD = (
    "share of the stories whose asked ending is the one that a judge finds likelier: a logistic regression over the words and word "
    "pairs of a story's last seven sentences, learnt from TinyStories whose endings people marked; stories that were cut off are "
    "judged as they stand"
)


@dataclass(frozen=True)
class Written:
    """One story that was written to be measured."""

    prompt: str
    """The topic, or the opening that was gone on from."""
    ending: Ending | None
    """What was asked for; None for an opening."""
    story: str
    """What the model wrote; an opening is not part of it."""
    tokens: int
    reason: StopReason


def presets(checkpoint: Checkpoint, names: Sequence[str] = tuple(SAMPLING_PRESETS)) -> dict[str, SamplingSettings]:
    """Sampling settings by name; `recommended` is the checkpoint's own, or balanced where it recommends none."""
    own = checkpoint.sampling or SAMPLING_PRESETS["balanced"]
    return {name: own if name == "recommended" else SAMPLING_PRESETS[name] for name in names}


def requests(checkpoint: Checkpoint, sampling: SamplingSettings, count: int, seed: int) -> Iterator[GenerationRequest]:
    """The fixed requests, over again with other seeds where `count` is more than there are."""
    if checkpoint.prompt_style.name != "plain":
        endings: tuple[Ending, ...] = ("happy", "sad")
        asked: list[dict[str, Any]] = [{"topic": topic, "ending": ending} for topic in TOPICS for ending in endings]
    else:
        asked = [{"opening": opening} for opening in OPENINGS]
    for number, what in zip(range(count), itertools.cycle(asked), strict=False):
        yield GenerationRequest(sampling=replace(sampling, seed=seed + number), **what)


def write_stories(
    checkpoint: Checkpoint,
    sampling: SamplingSettings,
    count: int,
    seed: int = 1,
    told: Callable[[int], None] = lambda done: None,
) -> list[Written]:
    """`count` stories of at most `LONGEST` tokens for the fixed prompts; `told` hears how many are done."""
    sampling = replace(sampling, max_tokens=min(LONGEST, sampling.max_tokens), min_tokens=min(LONGEST, sampling.min_tokens))
    written: list[Written] = []
    for request in requests(checkpoint, sampling, count, seed):
        events = list(generate(checkpoint, request))
        story = "".join(event.text for event in events if isinstance(event, Token | Finished))
        end = next(event for event in events if isinstance(event, Finished))
        written.append(Written(request.topic or request.opening, request.ending, story, end.tokens, end.reason))
        told(len(written))
    return written


def measure(written: Sequence[Written], judge: EndingJudge | None) -> dict[str, Any]:
    """Figures over stories, shares from 0 to 1; `measures.METHODS` and `ENDING_METHOD` say how each is measured.

    Without a judge, or where no endings were asked for, the figures of endings (and of topics) are left out.
    """
    stories = [one.story for one in written]
    lengths = [len(measures.words(story)) for story in stories]
    tidied = [tidy(one.story, one.reason != "end of text", before="" if one.ending else one.prompt) for one in written]
    figures: dict[str, Any] = {
        "stories": len(written),
        "ended_by_themselves": _mean(one.reason == "end of text" for one in written),
        "stop_reasons": dict(Counter(one.reason for one in written).most_common()),
        "mean_tokens": _mean(one.tokens for one in written),
        "median_tokens": float(statistics.median(one.tokens for one in written)) if written else 0.0,
        "mean_words": _mean(lengths),
        "median_words": float(statistics.median(lengths)) if lengths else 0.0,
        "with_article": _mean(map(measures.has_article, stories)),
        "articles_per_100_words": measures.articles_per_100_words(stories),
        **{f"distinct_{n}": measures.distinct(stories, n) for n in (1, 2, 3)},
        "repeated_3_share": _mean(measures.repeated(story, 3) for story in stories),
        "tidy_changed": _mean(after != before for before, after in zip(stories, tidied, strict=True)),
        "tidy_characters_removed": _mean(len(before) - len(after) for before, after in zip(stories, tidied, strict=True)),
    }
    asked = [one for one in written if one.ending]
    if asked and judge is not None:
        happy = judge.happiness([one.story for one in asked]) > 0.5
        met = {ending: [bool(h) == (ending == "happy") for one, h in zip(asked, happy, strict=True) if one.ending == ending]
               for ending in ("happy", "sad")}  # fmt: skip
        figures["ending_met"] = _mean([*met["happy"], *met["sad"]])
        figures |= {f"ending_met_{ending}": _mean(marks) for ending, marks in met.items() if marks}
    if asked:
        figures["topic_words_used"] = _mean(measures.topic_share(one.prompt, one.story) for one in asked)
    return figures


def _mean(values: Any) -> float:
    found = [float(value) for value in values]
    return sum(found) / max(1, len(found))
