"""How well a checkpoint writes: stories for fifty topics and two endings, and what can be measured of them without a reader.

An asked ending counts as met when the `EndingJudge`, learnt from marked stories that are handed in, finds it the likelier one; how
often the judge agrees with people on marked stories it has not seen is measured and told beside. The rest are counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.checkpoints.native import Checkpoint
from engine.data.stories import Record
from engine.errors import UsageError
from engine.evaluation.endings import EndingJudge
from engine.generation import generate
from engine.protocol import Finished, Token
from engine.settings import SAMPLING_PRESETS, Ending, GenerationRequest, SamplingSettings

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
"""What a person might type; none of them is taken from the training stories."""

_ARTICLE = re.compile(r"\b(?:a|an|the)\b", re.IGNORECASE)
_WORD = re.compile(r"[a-z']+")


def write_stories(
    checkpoint: Checkpoint, sampling: SamplingSettings, topics: Sequence[str] = TOPICS
) -> list[tuple[str, Ending, str, Finished]]:
    """(topic, asked ending, story, how it ended) for each topic and both endings, with seeds that follow from `sampling.seed`."""
    written = []
    endings: tuple[Ending, ...] = ("happy", "sad")
    for number, topic in enumerate(topics):
        for which, ending in enumerate(endings):
            seed = (sampling.seed or 0) + 2 * number + which
            request = GenerationRequest(topic=" ".join(topic.split()), ending=ending, sampling=replace(sampling, seed=seed))
            events = list(generate(checkpoint, request))
            story = "".join(event.text for event in events if isinstance(event, Token | Finished))
            written.append((request.topic, ending, story, next(event for event in events if isinstance(event, Finished))))
    return written


def measure_stories(
    checkpoint: Checkpoint, marked: Sequence[Record], say: Callable[[str], None], temperature: float = 0.8, seed: int = 1
) -> dict[str, Any]:
    """Figures over 100 stories; raises `UsageError` where the data hold too few stories with a marked ending to learn from."""
    known = [record for record in marked if record.ending]
    if len(known) < 200:
        raise UsageError(
            "To judge endings, --data must also name a JSON-lines file with at least 200 stories marked happy or sad."
        )
    if checkpoint.prompt_style.name != "topic-ending":
        raise UsageError("This checkpoint knows no topics and endings, so its stories cannot be judged by them.")
    judge, agreement = learn_judge(known, seed)
    sampling = replace(checkpoint.sampling or SAMPLING_PRESETS["balanced"], temperature=temperature, max_tokens=300, seed=seed)
    say("writing 100 stories ...")
    written = write_stories(checkpoint, sampling)
    stories = [story for _, _, story, _ in written]
    happy = judge.happiness(stories) > 0.5
    asked = np.array([ending == "happy" for _, ending, _, _ in written])
    return {
        "stories_written": len(stories),
        "sampling": sampling.to_json(),
        "ended_by_themselves": float(np.mean([end.reason == "end of text" for *_, end in written])),
        "with_article": float(np.mean([bool(_ARTICLE.search(story)) for story in stories])),
        "ending_met": float(np.mean(happy == asked)),
        "ending_met_happy": float(np.mean(happy[asked])),
        "ending_met_sad": float(np.mean(~happy[~asked])),
        "judge_agreement": agreement,
        "topic_words_used": float(np.mean([_topic_share(topic, story) for topic, _, story, _ in written])),
        "mean_tokens": float(np.mean([end.tokens for *_, end in written])),
        "distinct_3": _distinct(stories, 3),
        "repeated_3_share": float(np.mean([_repeated(story, 3) for story in stories])),
    }


def learn_judge(known: Sequence[Record], seed: int) -> tuple[EndingJudge, float]:
    """A judge learnt from four fifths of the marked stories, and how often it agrees with people on the other fifth."""
    order = np.random.default_rng(seed).permutation(len(known))
    cut = len(known) * 4 // 5
    learn, test = [known[i] for i in order[:cut]], [known[i] for i in order[cut:]]
    judge = EndingJudge.learn([r.story for r in learn], [r.ending == "happy" for r in learn], seed=seed)
    truth = np.array([r.ending == "happy" for r in test])
    return judge, float(np.mean((judge.happiness([r.story for r in test]) > 0.5) == truth))


def _topic_share(topic: str, story: str) -> float:
    """Share of the topic's content words that occur in the story, by their first five letters."""
    small = {
        "a",
        "an",
        "the",
        "who",
        "that",
        "is",
        "of",
        "to",
        "her",
        "his",
        "and",
        "with",
        "in",
        "on",
        "at",
        "for",
        "does",
        "not",
        "too",
    }
    wanted = [word[:5] for word in _WORD.findall(topic.lower()) if word not in small]
    text = {word[:5] for word in _WORD.findall(story.lower())}
    return sum(word in text for word in wanted) / max(1, len(wanted))


def _grams(story: str, n: int) -> list[tuple[str, ...]]:
    words = _WORD.findall(story.lower())
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _distinct(stories: Sequence[str], n: int) -> float:
    """Distinct n-grams divided by all n-grams, over all stories together (Li et al. 2016)."""
    grams = [gram for story in stories for gram in _grams(story, n)]
    return len(set(grams)) / max(1, len(grams))


def _repeated(story: str, n: int) -> float:
    """Share of a story's n-grams that stood in it before."""
    grams = _grams(story, n)
    return 1 - len(set(grams)) / max(1, len(grams))
