"""Plans and batches: what each layout shows of which story, and that everything follows from the seed and the epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import tiny_config, tiny_model, tiny_tokenizer
from training_runs import HAPPY, made_up_rows, prepared

from engine.data.batches import Batch, step_batches
from engine.data.plan import Epoch, Steps, best_fit, longer_than
from engine.data.shards import Split
from engine.prompts import story_prompt
from engine.training.objective import IGNORED
from engine.training.settings import TrainSettings

END = tiny_tokenizer().end_id


@pytest.fixture
def plain_split(tmp_path: Path) -> Split:
    stories = [(row["story"], None, None) for row in made_up_rows(60)]
    return prepared(tmp_path / "plain", tiny_tokenizer(), stories).split("train")


@pytest.fixture
def marked_split(tmp_path: Path) -> Split:
    stories = [(row["story"], row["topic"], row["ending"]) for row in made_up_rows(60)]
    return prepared(tmp_path / "marked", tiny_tokenizer(), stories).split("train")  # type: ignore[arg-type]


def epoch_batches(split: Split, settings: TrainSettings, context: int, rank: int = 0, processes: int = 1) -> list[Batch]:
    epoch = Epoch(split, settings, context, 0)
    micro = settings.micro_tokens or settings.batch_tokens
    return [
        batch
        for index in range(len(epoch))
        for batch in step_batches(split, epoch.step(index), END, context, micro, rank, processes)
    ]


def target_tokens(batches: list[Batch]) -> list[int]:
    return sorted(torch.cat([b.targets[b.targets != IGNORED] for b in batches]).tolist())


@pytest.mark.parametrize("layout", ["stories", "packed"])
@pytest.mark.parametrize("context", [24, 200])
def test_every_token_of_every_story_is_learnt_once(plain_split: Split, layout: str, context: int) -> None:
    settings = TrainSettings(layout=layout, batch_tokens=300)
    batches = epoch_batches(plain_split, settings, context)
    wanted = sorted(token for i in range(len(plain_split)) for token in (*plain_split.parts(i)[1].tolist(), END))
    assert target_tokens(batches) == wanted
    epoch = Epoch(plain_split, settings, context, 0)
    assert sum(epoch.step(i).targets for i in range(len(epoch))) == len(wanted)
    assert sorted({story for i in range(len(epoch)) for story in epoch.step(i).stories()}) == list(range(60))


@pytest.mark.parametrize("layout", ["stories", "packed", "windows"])
def test_batches_are_bounded_and_inputs_are_targets_one_later(plain_split: Split, layout: str) -> None:
    settings = TrainSettings(layout=layout, batch_tokens=600, micro_tokens=300)
    for batch in epoch_batches(plain_split, settings, 100):
        assert batch.inputs.shape == batch.targets.shape and batch.inputs.numel() <= max(300, batch.inputs.shape[1])
        follows = batch.targets[:, :-1] == batch.inputs[:, 1:]
        inside = (batch.targets[:, :-1] != IGNORED) & (batch.targets[:, 1:] != IGNORED)
        if batch.positions is not None:
            inside &= batch.positions[:, 1:] > 0  # where the next story begins, its end token is an input of its own
        assert bool(follows[inside].all()) and int(inside.sum()) > 0


@pytest.mark.parametrize("loss_on", ["story", "prompt"])
def test_a_marked_story_is_read_after_its_prompt(marked_split: Split, loss_on: str) -> None:
    tokenizer = tiny_tokenizer()
    settings = TrainSettings(layout="stories", marked_repeats=2, loss_on=loss_on, batch_tokens=2000)
    seen = 0
    for batch in epoch_batches(marked_split, settings, 400):
        for read, wanted in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            size = max(at for at, token in enumerate(wanted) if token != IGNORED) + 1
            learnt = tokenizer.decode(token for token in wanted[:size] if token != IGNORED)
            assert read[0] == END == wanted[size - 1]
            story = learnt.rpartition("### Story:\n")[2]
            topic, ending = story.split("That was ")[1].split(".")[0], "happy" if HAPPY in story else "sad"
            whole = story_prompt(topic, ending) + story  # type: ignore[arg-type]
            assert tokenizer.decode(read[:size]) == whole and learnt == (whole if loss_on == "prompt" else story)
            seen += 1
    assert seen == 120


def test_stories_that_are_too_long(plain_split: Split) -> None:
    context = int(np.median(plain_split.rows()["story"]))
    long = longer_than(plain_split, context)
    assert 0 < long < 60
    ends = {}
    for too_long in ("split", "cut", "drop"):
        settings = TrainSettings(layout="packed", too_long=too_long, batch_tokens=1000)
        ends[too_long] = target_tokens(epoch_batches(plain_split, settings, context)).count(END)
    assert ends == {"split": 60, "cut": 60 - long, "drop": 60 - long}


@pytest.mark.parametrize("shape", ["rope", "rope, interleaved", "learned", "learned, windows", "rope, grouped"])
def test_a_packed_story_sees_only_itself(plain_split: Split, shape: str) -> None:
    """Logits of stories packed into one row are those of each story read alone."""
    network = tiny_model(tiny_config(shape, tiny_tokenizer().vocab_size, 300))
    batches = [
        b for b in epoch_batches(plain_split, TrainSettings(layout="packed", batch_tokens=600), 300) if b.stories is not None
    ]
    assert batches and max(int(b.stories.max()) for b in batches if b.stories is not None) >= 1
    for batch in batches[:4]:
        packed = network.logits(network.hidden(batch.inputs, mask=batch.mask(), positions=batch.positions))
        assert batch.stories is not None
        for row in range(len(batch.inputs)):
            for story in range(int(batch.stories[row].max()) + 1):
                here = batch.stories[row] == story
                alone = network(batch.inputs[row][here][None])[0]
                torch.testing.assert_close(packed[row][here], alone, rtol=1e-4, atol=1e-4)


def test_windows_are_the_stream_cut_anywhere(plain_split: Split) -> None:
    settings = TrainSettings(layout="windows", batch_tokens=500)
    stream = plain_split.window(0, plain_split.tokens).tolist()
    epoch, starts = Epoch(plain_split, settings, 50, 0), []
    for index in range(len(epoch)):
        step = epoch.step(index)
        (batch,) = step_batches(plain_split, step, END, 50, 500)
        for row, read, wanted in zip(step.rows, batch.inputs.tolist(), batch.targets.tolist(), strict=True):
            start, length = int(row["start"][0]), int(row["length"][0])
            assert read[:length] == stream[start : start + length] and wanted[:length] == stream[start + 1 : start + length + 1]
            assert set(wanted[length:]) <= {IGNORED}
            starts.append(start)
    first = min(starts)
    assert first < 50 and sorted(starts) == list(range(first, len(stream) - 1, 50))


@pytest.mark.parametrize("layout", ["stories", "packed", "windows"])
def test_an_epoch_follows_from_its_seed_and_number(plain_split: Split, layout: str) -> None:
    def rows(seed: int, number: int) -> list[list[tuple[int, ...]]]:
        epoch = Epoch(plain_split, TrainSettings(layout=layout, seed=seed, batch_tokens=300), 60, number)
        return [[tuple(segment) for row in epoch.step(i).rows for segment in row.tolist()] for i in range(len(epoch))]

    assert rows(1, 0) == rows(1, 0) and rows(1, 0) != rows(2, 0) and rows(1, 0) != rows(1, 1)


@pytest.mark.parametrize("layout", ["stories", "packed", "windows"])
def test_the_cursor_is_epoch_and_index(plain_split: Split, layout: str) -> None:
    settings = TrainSettings(layout=layout, batch_tokens=400)
    whole = Steps(plain_split, settings, 60)
    first = [(s.epoch, s.index, s.stories()) for s, _ in zip(whole, range(60), strict=False)]
    assert first[-1][0] > 0  # it has come into the second epoch at least
    for at in (1, 7, 31, 59):
        epoch, index, _ = first[at]
        again = Steps(plain_split, settings, 60, epoch, index)
        step = next(again)
        assert (step.epoch, step.index, step.stories()) == first[at]


@pytest.mark.parametrize("layout", ["stories", "packed", "windows"])
def test_processes_share_out_each_step(plain_split: Split, layout: str) -> None:
    settings = TrainSettings(layout=layout, batch_tokens=500, micro_tokens=200)
    alone = target_tokens(epoch_batches(plain_split, settings, 60))
    for processes in (2, 3, 50):
        together = [b for rank in range(processes) for b in epoch_batches(plain_split, settings, 60, rank, processes)]
        assert target_tokens(together) == alone
        assert all(epoch_batches(plain_split, settings, 60, rank, processes) for rank in range(processes))


@given(st.lists(st.integers(1, 64), min_size=1, max_size=200))
def test_best_fit(lengths: list[int]) -> None:
    bins = best_fit(lengths, 64)
    assert sorted(i for row in bins for i in row) == list(range(len(lengths)))
    fills = [sum(lengths[i] for i in row) for row in bins]
    assert max(fills) <= 64
    # No two bins could be one: the second of them would have gone into the first.
    assert len(fills) < 2 or sum(sorted(fills)[:2]) > 64


def test_packing_wastes_little() -> None:
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(5.2, 0.35, 4000).astype(int), 20, 512).tolist()
    bins = best_fit(lengths, 512)
    assert 1 - sum(lengths) / (512 * len(bins)) < 0.03
