"""Compiles the step: numba makes LLVM code of `kernels.enter`, LLVM machine code for this processor, `linking` an image of it.

The only module that needs numba; for a process of its own (`python -m engine.decode`), as compiling takes about ten seconds.
"""

from __future__ import annotations

from pathlib import Path

import llvmlite.binding as llvm
from numba import njit, types

from engine.decode import library
from engine.decode.arithmetic import PLAIN
from engine.decode.kernels import enter
from engine.decode.linking import Unlinkable, link

MEMSET = """
define void @memset(ptr %place, i32 %value, i64 %count) "no-builtins" {
entry:
  %byte = trunc i32 %value to i8
  %none = icmp eq i64 %count, 0
  br i1 %none, label %done, label %loop
loop:
  %at = phi i64 [ 0, %entry ], [ %following, %loop ]
  %spot = getelementptr i8, ptr %place, i64 %at
  store i8 %byte, ptr %spot, align 1
  %following = add i64 %at, 1
  %more = icmp ult i64 %following, %count
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""
"""LLVM makes a call of this out of a loop that writes zeros; the image has no C library to call."""


def build(folder: Path) -> None:
    """Compile for this machine and keep what comes of it in the folder, whole or not at all."""
    entry = njit(types.int64(*[types.int64] * 5), **PLAIN)(enter.py_func)
    made = entry.overloads[entry.signatures[0]]
    module = llvm.parse_assembly(made.library.get_llvm_str())
    name = made.fndesc.llvm_func_name
    _forget_all_but(module, name)
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, reloc="pic", codemodel="small"
    )
    _drop_unused(module, machine)
    module.link_in(llvm.parse_assembly(MEMSET))
    code = machine.emit_object(module)
    try:
        library.keep(folder, *link(code, name))
    except Unlinkable:
        library.keep(folder, code, name)


def _forget_all_but(module: llvm.ModuleRef, name: str) -> None:
    """Nothing but the entry is seen from outside, so that what it does not need can go."""
    for part in (*module.functions, *module.global_variables):
        if not part.is_declaration and part.name != name:
            part.linkage = "internal"


def _drop_unused(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
