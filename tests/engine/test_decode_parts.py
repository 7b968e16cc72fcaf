"""The parts of the compiled step: what they compute, who waits for whom, and where compiled code is kept."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from compiled_steps import from_python
from small import tiny_config, tiny_model

from engine.decode.compiled import CompiledStep, available, load_kernels, verify
from engine.decode.packing import pack, unpack_rows
from engine.decode.tables import AWAKE
from engine.decode.widths import PRECISIONS
from engine.errors import UsageError

pytestmark = pytest.mark.skipif(bool(available()), reason=available())


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 0.0), ("bf16", 2**-8), ("int8", 0.5 / 127), ("int4", 0.5 / 7)])
def test_rounding_stays_within_half_a_unit(precision: str, bound: float) -> None:
    weight = torch.randn(9, 77, generator=torch.Generator().manual_seed(0))
    weight[3] = 0.0
    error = (unpack_rows(weight, precision) - weight).abs()
    assert error.shape == weight.shape and float((error / weight.abs().amax(1, keepdim=True).clamp(min=1e-9)).max()) <= bound


@pytest.mark.parametrize("precision", PRECISIONS)
def test_products_of_odd_sizes_equal_numpys(precision: str, compiled: Path) -> None:
    load_kernels(compiled)
    from engine.decode.packing import Packer
    from engine.decode.products import multiply

    draw, multiplied = torch.Generator().manual_seed(1), from_python(multiply)
    for rows, columns, batch in ((1, 5, 1), (31, 77, 2), (45, 160, 3), (26, 96, 9)):
        weight, bias = torch.randn(rows, columns, generator=draw), torch.randn(rows, generator=draw)
        x = np.zeros((12, 192), np.float32)
        x[:, :columns] = torch.randn(12, columns, generator=draw).numpy()
        packer, out = Packer(), np.full((12, 50), np.nan, np.float32)
        matrix = np.array(packer.matrix(weight, bias, PRECISIONS[precision]), np.int64)
        multiplied(matrix, 0, rows, x.ctypes.data, x.strides[0], batch, out.ctypes.data, out.strides[0])
        expected = x[:batch, :columns] @ unpack_rows(weight, precision).numpy().T + bias.numpy()
        assert np.allclose(out[:batch, :rows], expected, atol=1e-4)
        assert np.isnan(out[:, rows:]).all()  # nothing is written beside the rows


def test_float32_weights_are_the_networks_own_and_others_are_smaller() -> None:
    network = tiny_model(tiny_config("learned"))
    shared, small = pack(network, "fp32", 1), pack(network, "int8", 1)
    assert network.blocks[0].attention.qkv.weight.data_ptr() == shared.weights.matrices[0, 1]
    assert network.embedding.weight.data_ptr() == shared.weights.embeddings[0] == small.weights.embeddings[0]
    vectors = sum(parameter.nbytes for parameter in network.parameters() if parameter.dim() == 1)
    assert shared.own_bytes == vectors and small.bytes_a_token < 0.32 * shared.bytes_a_token


@pytest.mark.parametrize("vocab", [1, 63, 64, 65, 1000])
def test_the_likeliest_are_those_of_a_full_sort(vocab: int, compiled: Path) -> None:
    load_kernels(compiled)
    from engine.decode.likeliest import BLOCK, describe_block, log_sum_exp, take_likeliest

    logits = np.random.default_rng(vocab).integers(-40, 40, vocab).astype(np.float32) / 4  # with many equals
    described, taken, summed = (from_python(part) for part in (describe_block, take_likeliest, log_sum_exp))
    blocks = -(-vocab // BLOCK)
    maxima, sums = np.zeros(blocks, np.float32), np.zeros(blocks, np.float32)
    for block in range(blocks):
        described(logits, block, maxima, sums)
    expected = np.argsort(-logits, kind="stable")
    for k in {1, 2, 50, 64, 256} & set(range(vocab + 1)):
        values, ids = np.zeros(k, np.float32), np.zeros(k, np.int64)
        taken(logits, maxima, values, ids)
        assert (ids == expected[:k]).all() and (values == logits[ids]).all()
    assert summed(maxima, sums) == pytest.approx(float(torch.from_numpy(logits).logsumexp(0)), abs=1e-5)


def test_the_exponential_and_the_activations_are_exact_to_a_few_units(compiled: Path) -> None:
    load_kernels(compiled)
    from engine.decode import arithmetic

    x = np.linspace(-80, 80, 20_001).astype(np.float32)
    exponential = from_python(arithmetic.exponential)
    found = np.array([exponential(value) for value in x])
    assert np.abs(found / np.exp(x.astype(np.float64)) - 1).max() < 4e-7
    x, out = np.linspace(-30, 30, 20_001).astype(np.float32), np.zeros(20_001, np.float32)
    exact = torch.from_numpy(x).double()
    for function, expected in (
        (arithmetic.gelu, torch.nn.functional.gelu(exact)),
        (arithmetic.gelu_tanh, torch.nn.functional.gelu(exact, approximate="tanh")),
    ):
        from_python(function)(x, out)
        assert np.abs(out - expected.numpy()).max() < 2e-6
    from_python(arithmetic.swiglu)(x, np.ones_like(x), out)
    assert np.abs(out - torch.nn.functional.silu(exact).numpy()).max() < 4e-6


def test_helpers_sleep_between_stories_and_are_woken(compiled: Path) -> None:
    network = tiny_model(tiny_config("rope"))
    step = CompiledStep.build(network, "fp32", 2, compiled)
    step.start(1, 16)
    first = step.step([1]).logits.copy()
    deadline = time.monotonic() + 60
    while step.room.control[AWAKE] and time.monotonic() < deadline:
        time.sleep(0.001)
    assert step.room.control[AWAKE] == 0
    step.start(1, 16)
    assert np.array_equal(step.step([1]).logits, first)
    step.close()


def test_code_is_compiled_once_and_then_loaded_by_other_processes(compiled: Path) -> None:
    network = tiny_model(tiny_config("rope"))
    CompiledStep.build(network, "fp32", 1, compiled)
    before = {file: file.stat().st_mtime_ns for file in compiled.rglob("*.nb*")}
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); from small import *\n"
        "from engine.decode.compiled import CompiledStep\n"
        "step = CompiledStep.build(tiny_model(tiny_config('learned')), 'int8', 2, Path(sys.argv[1]))\n"
        "from engine.decode.kernels import serve, announce\n"
        "assert not serve.stats.cache_misses and not announce.stats.cache_misses\n"
        "assert 'textual' not in sys.modules\n"
        # Every module that numba compiles must be in the name of the folder, or old code would be run after a change.
        "from engine.decode import compiled\n"
        "with_numba = {name for name, module in sys.modules.items() if name.startswith('engine.decode.') and hasattr(module, 'njit')}\n"
        "assert {name.rpartition('.')[2] for name in with_numba} <= set(compiled.SOURCES)"
    )
    subprocess.run([sys.executable, "-c", program, str(compiled), str(Path(__file__).parent.parent)], check=True)
    assert before and before == {file: file.stat().st_mtime_ns for file in compiled.rglob("*.nb*")}


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_damaged_compiled_code_is_made_again(kind: str, compiled: Path, tmp_path: Path) -> None:
    CompiledStep.build(tiny_model(tiny_config("rope")), "fp32", 1, compiled)
    shutil.copytree(compiled, tmp_path / "compiled", ignore=lambda folder, names: [name for name in names if "serve" in name])
    for file in (tmp_path / "compiled").rglob(f"*.{kind}"):
        file.write_bytes(file.read_bytes()[:20])
    program = (
        "import sys; from pathlib import Path; from engine.decode import compiled\n"
        "kernels = compiled.load_kernels(Path(sys.argv[1])); kernels.serve = lambda *given: 0\n"
        "from engine.decode.__main__ import smallest\n"
        "step = compiled.CompiledStep.build(smallest(), 'fp32', 1, Path(sys.argv[1]))\n"
        "assert kernels.announce.stats.cache_misses"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "compiled")], check=True)


def test_helpers_end_with_their_step(compiled: Path) -> None:
    step = CompiledStep.build(tiny_model(tiny_config("learned")), "fp32", 3, compiled)
    step.step([1])
    helpers = [thread for thread in threading.enumerate() if thread.name.startswith("decode-")]
    assert len(helpers) >= 2
    del step
    gc.collect()
    for helper in helpers:
        helper.join(60)
    assert not any(helper.is_alive() for helper in helpers)


def test_the_plain_parts_load_without_numba() -> None:
    program = "import sys, engine.decode.compiled as c; assert c.available() == '' and 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_cannot_be_built_is_refused_in_one_sentence(compiled: Path, tmp_path: Path) -> None:
    network = tiny_model(tiny_config("learned"))
    with pytest.raises(UsageError, match="choose from fp32, bf16, int8, int4"):
        CompiledStep.build(network, "int2", 1, compiled)
    with pytest.raises(UsageError, match="between 1 and 16"):
        CompiledStep.build(network, "fp32", 0, compiled)
    (tmp_path / "file").write_text("")
    program = (
        "import sys; from pathlib import Path; from engine.decode.compiled import load_kernels\n"
        "from engine.errors import UsageError\n"
        "try: load_kernels(Path(sys.argv[1]))\n"
        "except UsageError as error: sys.exit(0 if 'choose another folder' in str(error) else 2)\n"
        "sys.exit(3)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path / "file" / "below")]).returncode == 0


def test_verify_measures_the_difference(compiled: Path) -> None:
    network = tiny_model(tiny_config("rope, partial"))
    ids = list(range(40))
    errors = []
    for precision in PRECISIONS:
        step = CompiledStep.build(network, precision, 1, compiled)
        errors.append(verify(step, network, ids))
    assert errors[0] < 1e-4 and errors == sorted(errors)
