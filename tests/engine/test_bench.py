"""What `engine.bench` measures, with real processes and small real checkpoints. No figure is judged by how large it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from small import tiny_config, tiny_loaded, tiny_model

from engine.bench.measuring import OWN, Bench, Contender, ratios
from engine.bench.openings import lengths, opening, read_ids
from engine.bench.plan import METHOD, BenchSettings, kinds, sampling, spread
from engine.bench.process import Child
from engine.bench.training import STORY_TOKENS, random_batch
from engine.bench.writing import step_bytes, weight_bytes
from engine.decode.compiled import SCREENED_STORIES, CompiledStep
from engine.errors import CheckpointError, TinyTalesError, UsageError
from tinytales_tui.engine_start import engine_environment

LONG = 60.0
"""Seconds after which a process that should have ended is taken for left over."""


@pytest.fixture
def environment() -> dict[str, str]:
    return engine_environment() | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def kernels(own_data_folder: Path, compiled: Path) -> Path:
    """What is compiled for all tests, where the program looks for it."""
    compiled.mkdir(mode=0o700, parents=True, exist_ok=True)
    (own_data_folder / "cache").mkdir(parents=True)
    (own_data_folder / "cache" / "kernels").symlink_to(compiled)
    return compiled


def job(kind: str, source: object, **more: object) -> dict[str, object]:
    return {"kind": kind, "source": str(source), "choices": {}, "device": "cpu", "threads": 1, **more}


def writing(source: object, **more: object) -> dict[str, object]:
    return job("write", source, **({"precision": "fp32", "step": "plain", "tokens": 4} | more))


@pytest.mark.parametrize(("shape", "begin"), [("rope", None), ("learned", 7)])
def test_an_opening_is_as_long_as_was_asked(shape: str, begin: int | None) -> None:
    checkpoint = tiny_loaded(shape, context=256)
    checkpoint.begin_id = begin
    for tokens in (8, 32, 100):
        ids = read_ids(checkpoint, opening(checkpoint, tokens))
        assert tokens - 10 < len(ids) <= tokens
        assert (ids[0] == 7) == (begin == 7)


def test_prompt_and_new_tokens_fit_the_context() -> None:
    assert lengths(512, 32, 200) == (32, 200)
    assert lengths(64, 32, 200) == (32, 32)
    assert lengths(16, 32, 200) == (8, 8)


def test_exactly_as_many_tokens_are_drawn_as_were_asked() -> None:
    settings = sampling(200)
    assert (settings.min_tokens, settings.max_tokens, settings.stop_loops) == (200, 200, False)
    assert (settings.temperature, settings.top_k, settings.top_p, settings.seed) == (0.8, 50, 1.0, 1)


def test_a_step_reads_all_weights_but_those_it_looks_up() -> None:
    tied = tiny_model(tiny_config("learned"))
    assert weight_bytes(tied) == 4 * (tied.parameter_count() - 16 * 32)  # without the table of positions
    own_head = tiny_model(tiny_config("learned, exact gelu, own head"))
    assert weight_bytes(own_head) == 4 * (own_head.parameter_count() - 16 * 32 - 320 * 32)
    rotary = tiny_model(tiny_config("rope"))
    assert weight_bytes(rotary) == 4 * rotary.parameter_count()
    assert weight_bytes(rotary.to(torch.bfloat16)) == 2 * rotary.parameter_count()


@pytest.mark.parametrize("shape", ["rope", "learned, exact gelu, own head"])
def test_a_compiled_step_reads_its_matrices_and_of_few_texts_the_screen_of_the_head(shape: str, compiled: Path) -> None:
    network = tiny_model(tiny_config(shape))
    blocks = [layer.weight for layer in network.blocks.modules() if isinstance(layer, torch.nn.Linear)]
    numbers, rows = sum(weight.numel() for weight in blocks), sum(len(weight) for weight in blocks)
    few, many = (1, SCREENED_STORIES), (SCREENED_STORIES + 1, 16)
    for precision, wanted in (
        ("fp32", {few: 4 * numbers + 320 * (32 + 4), many: 4 * numbers + 320 * 32 * 4}),
        ("int8", {few: numbers + 4 * rows + 320 * (32 + 4), many: numbers + 4 * rows + 320 * (32 + 4)}),
    ):
        step = CompiledStep.build(network, precision, 1, compiled)
        for batches, count in wanted.items():
            assert [step_bytes(step, batch) for batch in batches] == [count] * len(batches)
        step.close()


def test_each_step_has_its_precisions_and_some_are_measured_on_request() -> None:
    plain, compiled = [("plain", "fp32"), ("plain", "bf16")], [("compiled", name) for name in ("fp32", "bf16", "int8")]
    assert kinds((), ()) == plain + compiled
    assert kinds(("compiled",), ()) == compiled and kinds(("compiled", "plain"), ()) == plain + compiled
    assert kinds((), ("bf16",)) == [("plain", "bf16"), ("compiled", "bf16")]
    assert kinds((), ("int8", "int4")) == [("compiled", "int8"), ("compiled", "int4")]
    for steps, precisions, says in (
        (("odd",), (), "--step knows plain and compiled, and not 'odd'."),
        ((), ("odd",), "--precision knows fp32, bf16, int8 and int4, and not 'odd'."),
        (("plain",), ("int8",), "The plain step has no precision int8; leave --step out."),
    ):
        with pytest.raises(UsageError, match=f"^{says}$"):
            kinds(steps, precisions)


def test_spread_is_median_least_and_greatest() -> None:
    assert spread([3.0, 1.0, 2.00004]) == {"median": 2.0, "min": 1.0, "max": 3.0}


def test_rows_are_compared_with_rows_of_the_same_width() -> None:
    rows = [
        {"program": program, "step": "plain", "precision": precision, "batch": batch, "decode_tokens_per_s": {"median": speed}}
        for program, precision, batch, speed in (
            (OWN, "fp32", 1, 50.0), (OWN, "fp32", 4, 999.0), (OWN, "bf16", 1, 90.0), (OWN, "other", 1, 1.0), (OWN, "int8", 1, 200.0),
            ("transformers", "float32", 1, 20.0), ("llama.cpp", "float16", 1, 60.0), ("llama.cpp", "q8_0", 1, 100.0),
        )
    ]  # fmt: skip
    found = [(one["precision"], one["program"], one["their_precision"], one["times"]) for one in ratios(rows)]
    assert found == [
        ("fp32", "transformers", "float32", 2.5), ("bf16", "llama.cpp", "float16", 1.5), ("int8", "llama.cpp", "q8_0", 2.0),
    ]  # fmt: skip


def test_rows_to_train_on_are_packed_with_stories() -> None:
    batch = random_batch(2, 512, 300)
    mask = batch.mask()
    assert batch.inputs.shape == (2, 512) and mask is not None and batch.positions is not None
    assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1]) and int(batch.targets.max()) < 300
    assert int(batch.positions.max()) == STORY_TOKENS - 1
    assert bool(mask[0, 0, STORY_TOKENS - 1, 0]) and not bool(mask[0, 0, STORY_TOKENS, STORY_TOKENS - 1])


def test_a_measurement_has_a_process_of_its_own_that_does_not_stay(tiny_checkpoint: Path, environment: dict[str, str]) -> None:
    with Child(writing(tiny_checkpoint), environment) as child:
        (process,) = (one for one in psutil.Process().children() if one.pid == child._process.pid)
        assert child.facts["tokens"] == 4 and child.facts["threads"] == 1
        alone, several = child.run(batch=1), child.run(batch=3)
    assert not process.is_running()
    assert alone["prompt_tokens"] == several["prompt_tokens"] <= 32 < alone["prefill_tokens"] <= 128
    for figures in (alone, several):
        assert figures["decode_tokens_per_s"] > 0 and figures["ttft_s"] > 0 and figures["memory_bytes"] > 0
    assert alone["prefill_tokens_per_s"] > 0 and "prefill_tokens_per_s" not in several


def test_what_fails_is_one_sentence_and_the_process_serves_on(tiny_checkpoint: Path, environment: dict[str, str]) -> None:
    with Child(job("look", tiny_checkpoint, tokens=4), environment) as child:
        with pytest.raises(UsageError, match="There is no precision 'odd'"):
            child.run(step="plain", precision="odd")
        with pytest.raises(TinyTalesError, match=r"^The measurement met a fault: TypeError: .*wrong.*\.$"):
            child.run(wrong=True)
        assert child.run(step="plain", precision="fp32")["load_s"] > 0
        child._process.kill()
        with pytest.raises(TinyTalesError, match="ended"):
            child.run(step="plain", precision="fp32")


def test_a_checkpoint_that_cannot_be_opened_leaves_no_process(tmp_path: Path, environment: dict[str, str]) -> None:
    child = Child(writing(tmp_path / "nothing"), environment)
    with pytest.raises(CheckpointError, match="There is no checkpoint at"):
        child.__enter__()
    assert not psutil.pid_exists(child._process.pid)


def test_the_process_ends_with_the_one_that_asked(environment: dict[str, str]) -> None:
    script = (
        "import os, time\nfrom engine.bench.process import Child\n"
        "with Child({'kind': 'read', 'sizes': [4096], 'device': 'cpu', 'threads': 1}, os.environ) as child:\n"
        "    print(child._process.pid, flush=True)\n    time.sleep(600)"
    )
    asking = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert asking.stdout is not None
    measuring = psutil.Process(int(asking.stdout.readline()))
    asking.kill()
    asking.wait()
    asking.stdout.close()
    gone, _ = psutil.wait_procs([measuring], timeout=LONG)
    assert gone or measuring.status() == psutil.STATUS_ZOMBIE


def test_a_contender_that_fails_is_left_out_and_told(tiny_checkpoint: Path, environment: dict[str, str]) -> None:
    refused: list[str] = []
    bench = Bench(BenchSettings(repeats=1), environment, refuse=refused.append)
    contenders = [Contender(OWN, step, "fp32", writing(tiny_checkpoint, step=step)) for step in ("odd", "plain")]
    rows = bench._alternate(contenders, (1, 2))
    assert [(row["step"], row["batch"], row["runs"]) for row in rows] == [("plain", 1, 1), ("plain", 2, 1)]
    assert len(refused) == len(bench.failed) == 1 and "There is no step 'odd'" in refused[0]
    assert bench.failed[0]["kind"] == "UsageError"


def test_the_compiled_step_is_measured_beside_the_plain_one(
    tiny_checkpoint: Path, environment: dict[str, str], kernels: Path
) -> None:
    shown: list[str] = []
    wanted = {"steps": ("plain", "compiled"), "precisions": ("fp32", "int8")}
    settings = BenchSettings(tokens=4, repeats=1, batches=(1, 5), train=False, device="cpu", threads=1, **wanted)
    bench = Bench(settings, environment, shown.append)
    report = bench.measure(str(tiny_checkpoint), {}, "tiny")
    assert report is not None and not bench.failed
    assert [(row["step"], row["precision"], row["batch"]) for row in report["rows"]] == [
        (step, precision, batch)
        for step, precision in (("plain", "fp32"), ("compiled", "fp32"), ("compiled", "int8"))
        for batch in (1, 5)
    ]
    for row in report["rows"]:
        assert row["threads"] == 1 and row["load_s"]["median"] > 0 and row["decode_tokens_per_s"]["median"] > 0
        assert row["floor_share"] > 0 and (row["prefill_tokens_per_s"] is None) == (row["batch"] == 5)
    plain, _, compiled, several, int8, _ = (row["weight_bytes"] for row in report["rows"])
    assert int8 < compiled < plain and compiled < several
    assert "tiny: compiled int8, batch 5, run 1 of 1" in shown and "tiny: loading compiled int8, run 1 of 1" in shown


HIDDEN = 'import sys\nsys.modules["numba"] = None\n'


@pytest.mark.parametrize(("trouble", "asked"), [("not installed", True), ("nowhere to keep it", False)])
def test_without_the_compiled_step_the_plain_one_is_measured_and_a_sentence_says_why(
    tmp_path: Path, own_data_folder: Path, tiny_checkpoint: Path, environment: dict[str, str], trouble: str, asked: bool
) -> None:
    if trouble == "not installed":
        (tmp_path / "sitecustomize.py").write_text(HIDDEN)
        environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{environment.get('PYTHONPATH', '')}"
        why = "The compiled step needs the package numba, which is not installed"
    else:
        own_data_folder.write_text("a file where a folder should be")
        why = f"Compiled code cannot be kept in {own_data_folder / 'cache' / 'kernels'} (Not a directory)"
    shown: list[str] = []
    said: list[str] = []
    refused: list[str] = []
    wanted = {"steps": ("plain", "compiled") if asked else (), "precisions": ("fp32", "int8")}
    settings = BenchSettings(tokens=4, repeats=1, batches=(1,), train=False, device="cpu", threads=1, **wanted)
    bench = Bench(settings, environment, shown.append, said.append, refused.append)
    for _ in range(2):
        report = bench.measure(str(tiny_checkpoint), {}, "tiny")
        assert report is not None and [(row["step"], row["precision"]) for row in report["rows"]] == [("plain", "fp32")]
    told = refused if asked else said
    assert len(told) == len(said + refused) == 2 and all(why in one for one in told)
    assert [one["kind"] for one in bench.failed] == ["UsageError"] * (2 * asked)
    if not asked:
        assert set(said) == {f"tiny: {why}; only the plain step is measured."}
    if trouble == "nowhere to keep it":
        compiling = [at for at, words in enumerate(shown) if "compiling the step" in words]
        loading = [at for at, words in enumerate(shown) if "loading fp32" in words]
        assert len(compiling) == 1 and compiling[0] < loading[0]  # once, and before anything is measured


def test_no_further_run_of_a_row_is_begun_when_its_time_is_over(tiny_checkpoint: Path, environment: dict[str, str]) -> None:
    bench = Bench(BenchSettings(repeats=3, row_seconds=0.0), environment)
    rows = bench._alternate([Contender(OWN, "plain", "fp32", writing(tiny_checkpoint))], (1, 2))
    assert [(row["batch"], row["runs"]) for row in rows] == [(1, 1), (2, 1)]


@pytest.mark.parametrize(
    ("program", "module", "precisions"),
    [("transformers", "transformers", ["float32", "bfloat16"]), ("llama.cpp", "llama_cpp", ["float32", "float16", "q8_0"])],
)
def test_other_programs_run_in_turns_with_this_one(
    tiny_checkpoint: Path, environment: dict[str, str], program: str, module: str, precisions: list[str]
) -> None:
    pytest.importorskip(module)
    shown: list[str] = []
    limits = {"tokens": 4, "repeats": 1, "batches": (1,), "steps": ("plain",)}
    settings = BenchSettings(train=False, against=(program,), device="cpu", threads=1, **limits)
    bench = Bench(settings, environment, shown.append)
    report = bench.measure(str(tiny_checkpoint), {}, "tiny")
    assert report is not None and not bench.failed and report["training"] is None
    kinds = [(row["program"], row["precision"]) for row in report["rows"]]
    assert kinds == [(OWN, "fp32"), (OWN, "bf16"), *((program, precision) for precision in precisions)]
    theirs = report["rows"][2:]
    assert all(row["decode_tokens_per_s"]["median"] > 0 and row["memory_bytes"] > 0 and row["version"] for row in theirs)
    assert len({(row["prompt_tokens"], row["tokens"], row["threads"]) for row in report["rows"]}) == 1
    assert report["ratios"][0]["their_precision"] == "float32" and report["ratios"][0]["times"] > 0
    turns = [words.removeprefix("tiny: ").partition(", ")[::2] for words in shown if ", batch 1, " in words]
    labels = ["fp32", "bf16", *(f"{program} {precision}" for precision in precisions)]
    assert turns == [(label, f"batch 1, {run}") for run in ("warming up", "run 1 of 1") for label in labels]


def test_every_figure_has_its_method() -> None:
    assert {"load_s", "ttft_s", "prefill_tokens_per_s", "decode_tokens_per_s", "memory_bytes", "floor_share"} <= METHOD.keys()


def test_asking_needs_no_torch() -> None:
    script = "import sys, engine.bench.measuring, tinytales_tui.bench_command; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=engine_environment(), cwd=os.sep)
    assert found.stdout == "False\n", found.stderr
