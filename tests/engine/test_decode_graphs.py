"""Stories by the graphed step: the same words as by the network itself, run as it is, recorded and repeated, and captured on CUDA."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small import SHAPES, save_tiny, tiny_loaded
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from engine import sampling
from engine.checkpoints import Checkpoint, load_checkpoint
from engine.decode.choose import compile_step
from engine.decode.graphs import BOUNDS, Capture, GraphedStep, GraphStepping, refusal, verify
from engine.decode.static import AHEAD, Seen, Work, rows_for, slots_for
from engine.decode.stepping import PlainStepping
from engine.errors import UsageError
from engine.generation import generate
from engine.protocol import Finished, Token
from engine.settings import GenerationRequest, SamplingSettings

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")
WAYS = ["as it is", "recorded", pytest.param("cuda", marks=needs_cuda)]


class Tape(TorchDispatchMode):
    """Records a step's operations as a graph does: what is no tensor stays as it was, and no number may be looked at meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            raise RuntimeError(f"{function} waits for the device")
        found = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, found))
        return found

    @torch.inference_mode()
    def repeat(self, seen: Seen) -> None:
        """Do it all again; what is found goes where it was found the first time."""
        made: dict[int, Tensor] = {}
        for function, args, kwargs, before in self.operations:
            args, kwargs = tree_map_only(Tensor, lambda tensor: made.get(id(tensor), tensor), (args, kwargs))
            for old, new in zip(tree_leaves(before), tree_leaves(function(*args, **kwargs)), strict=True):
                made[id(old)] = new
        for tensor in (seen.logits, seen.likeliest):
            if tensor is not None and made[id(tensor)] is not tensor:
                tensor.copy_(made[id(tensor)])


def record(step: Callable[[], Seen]) -> Capture:
    step()
    with Tape() as tape:
        seen = step()
    return Capture(lambda: tape.repeat(seen), seen)


def graphed(checkpoint: Checkpoint, way: str) -> GraphedStep:
    capturer = record if way == "recorded" else None
    return GraphedStep(checkpoint.network, checkpoint.tokenizer.vocab_size, capturer)


def on(checkpoint: Checkpoint, way: str) -> Checkpoint:
    """The checkpoint on the device that this way is tried on."""
    if way == "cuda":
        checkpoint.network.to("cuda")
        checkpoint.device = "cuda"
    return checkpoint


def written(checkpoint: Checkpoint, request: GenerationRequest) -> tuple[list[tuple[int, int]], list[float], list[Any]]:
    """The tokens of all stories in the order in which they were told, their log probabilities, and how each story ended."""
    events = list(generate(checkpoint, request))
    drawn = [event for event in events if isinstance(event, Token)]
    ends = [(event.story, event.reason, event.tokens, event.text) for event in events if isinstance(event, Finished)]
    return [(event.story, event.token) for event in drawn], [event.logprob for event in drawn], ends


def same_stories(checkpoint: Checkpoint, step: GraphedStep, request: GenerationRequest) -> list[Any]:
    """Hold the graphed step against the plain one; returns how the stories ended."""
    checkpoint.compiled = None
    tokens, told, ends = written(checkpoint, request)
    checkpoint.compiled = step  # type: ignore[assignment]
    found, told_too, ends_too = written(checkpoint, request)
    assert found == tokens and ends_too == ends
    assert told_too == pytest.approx(told, abs=2e-3)
    assert not step.failure
    return ends


GREEDY = SamplingSettings(temperature=0.0, max_tokens=200, min_tokens=200, stop_loops=False)
DRAWN = SamplingSettings(temperature=1.2, seed=5, max_tokens=60, min_tokens=11, stop_loops=False)
BY_THE_DEVICE = {
    "greedy, past the context": GREEDY,
    "with a penalty": dataclasses.replace(DRAWN, repetition_penalty=1.3, min_p=0.02),
    "from all tokens": dataclasses.replace(DRAWN, top_k=0, top_p=1.0, min_tokens=0),
}
BY_THE_HOST = {
    "greedy, no run twice": dataclasses.replace(GREEDY, no_repeat_ngram=3, max_tokens=60, min_tokens=0),
    "words banned": dataclasses.replace(DRAWN, banned_words=("a", "the"), top_k=20),
    "words banned, with a penalty": dataclasses.replace(DRAWN, banned_words=("a",), repetition_penalty=1.2),
    "words banned, from all tokens": dataclasses.replace(DRAWN, banned_words=("a",), top_k=0),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_stories_are_those_of_the_plain_step(shape: str, way: str) -> None:
    checkpoint = on(tiny_loaded(shape, context=16), way)
    step = graphed(checkpoint, way)
    for count, settings in enumerate((BY_THE_DEVICE | BY_THE_HOST).values(), start=1):
        same_stories(checkpoint, step, GenerationRequest(opening="Mia found", count=min(count, 3), sampling=settings))


class Counting(GraphedStep):
    runs = 0

    def run(self, work: Work) -> Seen:
        self.runs += 1
        return super().run(work)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", ["learned, windows", "rope, grouped"])
@pytest.mark.parametrize("banned", [(), ("a",)])
def test_stories_of_a_batch_end_at_different_times(shape: str, way: str, banned: tuple[str, ...]) -> None:
    checkpoint = on(tiny_loaded(shape, context=24, seed=3), way)
    settings = SamplingSettings(temperature=1.5, top_k=40, seed=3, max_tokens=120, banned_words=banned)
    step = Counting(checkpoint.network, checkpoint.tokenizer.vocab_size, record if way == "recorded" else None)
    ends = same_stories(checkpoint, step, GenerationRequest(opening="Mia", count=16, sampling=settings))
    lengths = {tokens for _, _, tokens, _ in ends}
    assert step.runs <= max(lengths) + AHEAD  # what was gone ahead is of use to those that go on
    assert len(lengths) > 4 and len({length % AHEAD for length in lengths}) > 2  # within groups as well as at their ends


@pytest.mark.parametrize("way", WAYS)
def test_the_least_length_the_greatest_and_stop_strings_hold_within_a_group(way: str) -> None:
    checkpoint = on(tiny_loaded("rope", context=32), way)
    step = graphed(checkpoint, way)
    for settings in (
        dataclasses.replace(DRAWN, max_tokens=13, min_tokens=13),
        dataclasses.replace(DRAWN, max_tokens=1, min_tokens=0),
        dataclasses.replace(DRAWN, max_tokens=2, min_tokens=1),
        dataclasses.replace(DRAWN, stop=("e",), min_tokens=0),
    ):
        same_stories(checkpoint, step, GenerationRequest(opening="Mia", count=2, sampling=settings))


@pytest.mark.parametrize("way", WAYS)
def test_a_story_ends_within_a_token_of_the_cancelling(way: str) -> None:
    checkpoint = on(tiny_loaded("rope"), way)
    checkpoint.compiled = graphed(checkpoint, way)  # type: ignore[assignment]
    drawn: list[int] = []
    request = GenerationRequest(opening="Mia", sampling=dataclasses.replace(DRAWN, max_tokens=500, min_tokens=500))
    for event in generate(checkpoint, request, lambda: len(drawn) >= 5):
        if isinstance(event, Token):
            drawn.append(event.token)
        elif isinstance(event, Finished):
            assert event.reason == "cancelled"
    assert len(drawn) == 5


class Writer:
    """What a step has to know of a story."""

    def __init__(self) -> None:
        self.generator, self.ids, self.ends, self.drawn = torch.Generator().manual_seed(1), [7, 8], (0,), 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", ["learned", "rope, windows"])
@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_another_token_than_the_drawn_one_may_be_taken_up(shape: str, way: str, penalty: float) -> None:
    """What was gone ahead is in vain then, and leaves nothing behind, in a ring that has rolled over too."""
    checkpoint = on(tiny_loaded(shape, context=32), way)
    settings = SamplingSettings(temperature=0.0, max_tokens=300, stop_loops=False, repetition_penalty=penalty)
    stories, prompt = [Writer(), Writer()], [5, 6, 7]
    plain = PlainStepping(checkpoint, 300, 2)
    steps = GraphStepping(graphed(checkpoint, way), 300, stories, settings)
    plain.read([prompt])
    steps.read([prompt])
    taken = [11, 12]
    for number in range(28 if shape == "learned" else 90):
        for story, token in zip(stories, taken, strict=True):
            story.ids.append(token)
            story.drawn += 1
        wanted = [
            int(sampling.penalise_repetition(outlook.logits(), story.ids, penalty).argmax())
            for outlook, story in zip(plain.step(taken), stories, strict=True)
        ]
        outlooks = steps.step(taken)
        assert [outlook.drawn for outlook in outlooks] == wanted, number
        taken = [30 + number, 40 + number] if number % 11 == 10 else wanted
    assert plain.full == steps.full


def test_points_are_looked_at_ahead_without_being_taken() -> None:
    generator, plain = torch.Generator().manual_seed(9), torch.Generator().manual_seed(9)
    for count in (1, 8, 5, 64):
        ahead = sampling.points_ahead(generator, count)
        assert torch.equal(ahead[0], torch.rand((), generator=plain, dtype=torch.float64))
        assert torch.equal(sampling.next_point(generator), ahead[0])
        assert count == 1 or torch.equal(sampling.points_ahead(generator, count - 1), ahead[1:])


@pytest.mark.parametrize("top_p", [0.0, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("min_p", [0.0, 0.1, 1.0])
def test_rows_are_drawn_as_one_by_one(top_p: float, min_p: float) -> None:
    for k in (2, 20, 200):
        settings = SamplingSettings(temperature=0.9, top_k=k, top_p=top_p, min_p=min_p)
        logits = 3 * torch.randn(64, 200, generator=torch.Generator().manual_seed(k))
        logits[:, :3] = -torch.inf  # what was banned
        wanted = [sampling.draw(row, settings, torch.Generator().manual_seed(seed)) for seed, row in enumerate(logits)]
        points = torch.stack([sampling.next_point(torch.Generator().manual_seed(seed)) for seed in range(64)])
        values, ids = logits.topk(k)
        rule = (torch.tensor(0.9), torch.tensor(top_p if top_p < 1 else torch.inf), torch.tensor(min_p))
        assert sampling.draw_rows(values, ids, points, *rule).tolist() == wanted
    broken = torch.full((1, 5), torch.nan)
    assert 0 <= int(sampling.draw_rows(broken, torch.arange(5)[None], torch.rand(1).double(), *rule)) < 5


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("context", [5, 40])
def test_logits_are_those_of_the_network(shape: str, context: int, way: str) -> None:
    ids = list(range(3, 27))
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        checkpoint = on(tiny_loaded(shape, context=context), way)
        checkpoint.network.to(dtype)
        step = graphed(checkpoint, way)
        assert verify(step, ids) < BOUNDS[precision] / 2
        assert refusal(step, precision, ids) == ""


def test_a_graph_that_does_not_what_it_should_is_refused() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    ids = list(range(3, 27))

    def does_nothing(step: Callable[[], Seen]) -> Capture:
        return Capture(lambda: None, step())

    def stays_where_it_is(step: Callable[[], Seen]) -> Capture:
        capture = record(step)
        broken = GraphedStep(checkpoint.network, 320)
        broken.start(1, 64)
        return Capture(capture.replay, broken.run(Work(1)))

    def cannot(step: Callable[[], Seen]) -> Capture:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    for capturer in (does_nothing, stays_where_it_is):
        assert "other logits than the network" in refusal(GraphedStep(checkpoint.network, 320, capturer), "bf16", ids)
    why = refusal(GraphedStep(checkpoint.network, 320, cannot), "fp32", ids)
    assert why.startswith("The step cannot be captured on this device (operation not permitted") and "\n" not in why


def test_what_cannot_be_captured_later_is_run_as_it_is() -> None:
    checkpoint = tiny_loaded("rope", context=16)
    request = GenerationRequest(opening="Mia", count=3, sampling=DRAWN)
    plain = written(checkpoint, request)[0]

    def once(step: Callable[[], Seen]) -> Capture:
        step()  # a failure may come after some of the work was done
        raise RuntimeError("out of memory")

    step = GraphedStep(checkpoint.network, 320, once)
    checkpoint.compiled = step  # type: ignore[assignment]
    assert written(checkpoint, request)[0] == plain and step.failure == "out of memory"


def test_buffers_and_graphs_serve_the_stories_to_come() -> None:
    checkpoint, made = tiny_loaded("rope", context=16), []

    def counted(step: Callable[[], Seen]) -> Capture:
        made.append(1)
        return record(step)

    step = GraphedStep(checkpoint.network, 320, counted)
    checkpoint.compiled = step  # type: ignore[assignment]
    request = GenerationRequest(opening="Mia", count=3, sampling=dataclasses.replace(DRAWN, min_tokens=60))
    first = written(checkpoint, request)
    static, captures = step.static, len(made)
    assert captures == 1
    again = dataclasses.replace(request, sampling=dataclasses.replace(request.sampling, temperature=0.5, top_p=0.5, seed=8))
    written(checkpoint, again)
    written(checkpoint, dataclasses.replace(request, count=2))  # a smaller batch is another graph over the same buffers
    assert step.static is static and len(made) == captures + 1
    with torch.inference_mode():
        static.cache.values.fill_(torch.nan)  # what another story has left behind
    assert written(checkpoint, request) == first and len(made) == captures + 1
    same_stories(checkpoint, step, dataclasses.replace(request, count=5))
    assert step.static is not static and step.static.rows == 8
    same_stories(checkpoint, step, request)  # the graphs over the buffers of before are gone with them
    step.close()


def test_sizes_of_batches_and_buffers() -> None:
    assert [rows_for(texts) for texts in (1, 2, 3, 4, 5, 9, 64)] == [1, 2, 4, 4, 8, 16, 64]
    for context, capacity in ((16, 8), (512, 300), (512, 5000), (2048, 300), (2048, 2048)):
        slots = slots_for(context, capacity)
        assert slots >= min(context, capacity) + AHEAD and slots % 16 == 0
    assert slots_for(512, 5000) == 528 and slots_for(2048, 300) == 512


def test_a_checkpoint_is_given_it_on_cuda() -> None:
    checkpoint = tiny_loaded("rope", context=64)
    checkpoint.device = "cuda"  # what is made of it runs as it is where the network really lies
    for precision in ("int8", "int4"):
        with pytest.raises(UsageError, match=f"no precision '{precision}'; choose auto, fp32, bf16, or add --device cpu"):
            compile_step(checkpoint, precision, None)
    assert checkpoint.compiled is None
    compile_step(checkpoint, "auto", None)
    assert isinstance(checkpoint.compiled, GraphedStep) and checkpoint.precision == "fp32"
    compile_step(checkpoint, "bf16", 3)
    assert checkpoint.precision == "bf16" and checkpoint.network.embedding.weight.dtype == torch.bfloat16
    checkpoint.device = "mps"
    with pytest.raises(UsageError, match="on the CPU or with CUDA"):
        compile_step(checkpoint, "fp32", None)


@needs_cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_checkpoint_is_loaded_for_it_on_cuda(tmp_path: Path, precision: str) -> None:
    folder = save_tiny(tmp_path / "tiny", "rope")
    request = GenerationRequest(opening="Mia", count=3, sampling=DRAWN)
    loaded = load_checkpoint(folder, device="cuda", precision=precision, step="compiled")
    assert isinstance(loaded.compiled, GraphedStep) and not loaded.compiled.failure and loaded.precision == precision
    told: Sequence[tuple[int, int]] = written(loaded, request)[0]
    assert told == written(loaded, request)[0]
    if precision == "fp32":
        assert told == written(load_checkpoint(folder, device="cuda"), request)[0]
    with pytest.raises(UsageError, match="With CUDA"):
        load_checkpoint(folder, device="cuda", precision="int8")
