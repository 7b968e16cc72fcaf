"""A data folder with compiled code in it, as a program that was used before has one, and checkpoints with a choice remembered."""

from __future__ import annotations

import shutil
from pathlib import Path

from engine.decode import library, remembered
from engine.decode.choose import kernel_folder
from engine.decode.remembered import Choice, Subject


def put_code(compiled: Path) -> Path:
    """Take the code that all tests share into this test's own folder, which is returned."""
    library.compile_into(compiled)
    folder = kernel_folder()
    folder.mkdir(0o700, parents=True)
    for file in compiled.glob("step-*.code"):
        shutil.copy2(file, folder)
    assert library.ready(folder)
    return folder


def remember(checkpoint: Path, step: str, precision: str, **more: object) -> Subject:
    """As if it had been measured and chosen before."""
    subject = Subject.of(checkpoint)
    losses = {"bf16": 0.00001, "int8": 0.0012, "int4": 0.02}
    remembered.remember(kernel_folder(), subject, Choice(step, precision, 1, {}, losses, **more))  # type: ignore[arg-type]
    return subject
