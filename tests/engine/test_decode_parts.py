"""The parts of the compiled step: what they compute, who waits for whom, and where compiled code is kept."""

from __future__ import annotations

import gc
import json
import math
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

from engine.decode import library
from engine.decode.compiled import CompiledStep, available, verify
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
    assert network.embedding.weight.data_ptr() == shared.weights.matrices[-1, 1]
    vectors = sum(parameter.nbytes for parameter in network.parameters() if parameter.dim() == 1)
    rows, columns = network.head.weight.shape
    assert shared.own_bytes == vectors + rows * (columns + 4) + 4 * rows  # the screen with its scales, and its bounds
    assert small.own_bytes < 0.4 * sum(parameter.nbytes for parameter in network.parameters())


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_rounding_what_was_rounded_changes_nothing(precision: str) -> None:
    once = unpack_rows(torch.randn(300, 77, generator=torch.Generator().manual_seed(3)) ** 3, precision)
    assert torch.equal(unpack_rows(once, precision), once)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_is_looked_up_as_it_was_packed(precision: str) -> None:
    from engine.decode.packing import Packer
    from engine.decode.widening import widen

    weight, out = torch.randn(9, 77, generator=torch.Generator().manual_seed(0)), np.zeros(77, np.float32)
    packer, expected = Packer(), unpack_rows(weight, precision).numpy()
    matrix = np.array(packer.aside(weight, None, PRECISIONS[precision]), np.int64)
    for row in (0, 4, 8):
        from_python(widen)(matrix, row, out)
        assert np.array_equal(out, expected[row])


@pytest.mark.parametrize("vocab", [1, 63, 64, 65, 1000])
def test_the_likeliest_are_those_of_a_full_sort(vocab: int, compiled: Path) -> None:
    from engine.decode.likeliest import BLOCK, describe_block, sum_blocks, take_likeliest

    logits = np.random.default_rng(vocab).integers(-40, 40, vocab).astype(np.float32) / 4  # with many equals
    described, taken, summed = (from_python(part) for part in (describe_block, take_likeliest, sum_blocks))
    blocks = -(-vocab // BLOCK)
    maxima, sums = np.zeros(blocks, np.float32), np.zeros(blocks, np.float32)
    for block in range(blocks):
        described(logits, block, maxima, sums)
    expected = np.argsort(-logits, kind="stable")
    for k in {1, 2, 50, 64, 256} & set(range(vocab + 1)):
        values, ids = np.zeros(k, np.float32), np.zeros(k, np.int64)
        taken(logits, maxima, values, ids)
        assert (ids == expected[:k]).all() and (values == logits[ids]).all()
    total = float(maxima.max()) + math.log(summed(maxima, sums, maxima.max()))
    assert total == pytest.approx(float(torch.from_numpy(logits).logsumexp(0)), abs=1e-5)


def test_the_exponential_and_the_activations_are_exact_to_a_few_units(compiled: Path) -> None:
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
    CompiledStep.build(tiny_model(tiny_config("rope")), "fp32", 1, compiled).close()
    before = {file: file.stat().st_mtime_ns for file in compiled.rglob("*.code")}
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2]); from small import *\n"
        "from engine.decode.compiled import CompiledStep\n"
        "step = CompiledStep.build(tiny_model(tiny_config('learned')), 'int8', 2, Path(sys.argv[1]))\n"
        "step.step([1])\n"
        "assert not {'numba', 'llvmlite', 'textual'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(compiled), str(Path(__file__).parent.parent)], check=True)
    assert before and before == {file: file.stat().st_mtime_ns for file in compiled.rglob("*.code")}


def test_every_source_of_compiled_code_is_in_its_name() -> None:
    """Or old code would be run after a change."""
    program = (
        "import sys, engine.decode.building; from engine.decode import library\n"
        "used = {name.rpartition('.')[2] for name in sys.modules if name.startswith('engine.decode.')}\n"
        "assert used - {'library'} == set(library.SOURCES), used ^ set(library.SOURCES)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_damaged_code_is_never_run(compiled: Path, tmp_path: Path) -> None:
    CompiledStep.build(tiny_model(tiny_config("rope")), "fp32", 1, compiled).close()
    whole = library._place(compiled)
    data = whole.read_bytes()
    assert library.ready(compiled) and not library.ready(tmp_path)
    changed = bytearray(data)
    changed[library.PAGE + 5000] ^= 1
    for number, damaged in enumerate((data[:-1], data[:70], b"", bytes(changed), data + b"x", b"x" + data[1:])):
        place = tmp_path / f"{number}.code"
        place.write_bytes(damaged)
        place.chmod(0o600)
        with pytest.raises(library.Damaged):
            library._open(place)
    place.write_bytes(data)
    library._open(place)
    place.chmod(0o622)  # anybody could have put it there
    with pytest.raises(library.Damaged):
        library._open(place)


def test_damaged_code_is_made_again(compiled: Path, tmp_path: Path) -> None:
    CompiledStep.build(tiny_model(tiny_config("rope")), "fp32", 1, compiled).close()
    whole = library._place(compiled)
    (tmp_path / whole.name).write_bytes(whole.read_bytes()[:-100])
    (tmp_path / whole.name).chmod(0o600)
    program = "import sys; from pathlib import Path; from engine.decode import library; library.load(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert library.ready(tmp_path) and (tmp_path / whole.name).stat().st_size == whole.stat().st_size


def test_an_object_file_is_loaded_where_no_image_can_be() -> None:
    import llvmlite.binding as llvm

    from engine.decode.linking import Unlinkable, link

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    source = """
    @calls = internal global i64 0
    define i32 @count(ptr %out, ptr %none, i64 %a, i64 %b, i64 %c, i64 %d, i64 %e) {
      %sum = add i64 %a, %e
      %before = load i64, ptr @calls
      %after = add i64 %before, %sum
      store i64 %after, ptr @calls
      store i64 %after, ptr %out
      ret i32 0
    }
    """
    module = llvm.parse_assembly(source)
    code = llvm.Target.from_default_triple().create_target_machine(reloc="pic", codemodel="small").emit_object(module)
    with pytest.raises(Unlinkable, match="outside of itself"):
        link(code, "count")
    with pytest.raises(Unlinkable, match="ELF"):
        link(b"\xcf\xfa\xed\xfe" + code[4:], "count")
    enter = library.callable_at(library._resolved(code, "count"))
    assert (enter(40, 0, 0, 0, 2), enter(1, 0, 0, 0, 0)) == (42, 43)


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
        "import sys; from pathlib import Path; from engine.decode.library import load\n"
        "from engine.errors import UsageError\n"
        "try: load(Path(sys.argv[1]))\n"
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


def test_folders_that_others_may_write_to_are_not_run_from(compiled: Path, tmp_path: Path) -> None:
    CompiledStep.build(tiny_model(tiny_config("rope")), "fp32", 1, compiled).close()
    whole = library._place(compiled)
    assert library.fault(compiled) == "" and "No such file" in library.fault(tmp_path)
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    place = open_to_all / whole.name
    place.write_bytes(whole.read_bytes())
    place.chmod(0o600)
    assert library.fault(open_to_all) == ""
    open_to_all.chmod(0o777)
    assert "others may have written" in library.fault(open_to_all)
    open_to_all.chmod(0o700)
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert library.fault(open_to_all) != ""


@pytest.mark.parametrize("wrong", [{"size": -5}, {"size": 0}, {"size": 10**12}, {"entry": 10**9}, {"entry": -1}])
def test_impossible_numbers_in_the_head_are_damage(wrong: dict[str, int], compiled: Path, tmp_path: Path) -> None:
    CompiledStep.build(tiny_model(tiny_config("rope")), "fp32", 1, compiled).close()
    whole = library._place(compiled)
    data = whole.read_bytes()
    head = json.loads(data[: library.PAGE].removeprefix(library.MARK).partition(b"\n")[0]) | wrong
    place = tmp_path / "x.code"
    place.write_bytes((library.MARK + json.dumps(head).encode() + b"\n").ljust(library.PAGE, b"\0") + data[library.PAGE :])
    place.chmod(0o600)
    with pytest.raises(library.Damaged):
        library._open(place)


def test_a_step_that_was_cut_short_does_no_harm_to_the_next(compiled: Path) -> None:
    """An interrupt between the call to the helpers and the first thread's own part, and one before a helper was rung for."""
    network = tiny_model(tiny_config("rope"))
    step = CompiledStep.build(network, "fp32", 2, compiled)
    step.start(1, 16)
    expected = step.step([1]).logits.copy()
    enter, bell = step._enter, step._crew._bells[0]
    for cut in ("own part", "bell"):
        for _ in range(5):
            step.start(1, 16)
            if cut == "own part":
                step._enter = interrupted
            else:
                step._crew.rest()  # the helper sleeps, however busy the machine is
                bell.release = interrupted  # type: ignore[method-assign]
            try:
                with pytest.raises(KeyboardInterrupt):
                    step.step([5])
            finally:
                step._enter = enter
                vars(bell).pop("release", None)
            step.start(1, 16)
            assert np.array_equal(step.step([1]).logits, expected)
    step.start(2, 12)  # another room: all helpers have to rest
    step.close()


def interrupted(*given: int) -> int:
    raise KeyboardInterrupt
