"""What `doctor` says of the compiled step, with real folders."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.decode import library
from engine.decode.choose import kernel_folder
from tinytales_tui.doctor import Check, _compiled_step, _line


def looked(monkeypatch: pytest.MonkeyPatch, *hidden: str) -> Check:
    """The check where these packages are not installed."""
    for package in hidden:
        monkeypatch.setitem(sys.modules, package, None)
    found = _compiled_step()
    assert found.ok is None and "\n" not in _line(found)
    return found


def test_it_will_be_compiled_where_nothing_lies_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    found = looked(monkeypatch)
    assert found.says == "will be compiled at first use (about ten seconds)"
    assert found.facts == {"usable": True, "ready": False, "folder": str(kernel_folder()), "missing": [], "why": ""}
    assert not kernel_folder().exists()  # looking changes nothing


def test_code_that_lies_there_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_folder().mkdir(parents=True)
    library.keep(kernel_folder(), b"code", 0)
    found = looked(monkeypatch, "numba", "llvmlite")
    assert found.says.startswith("ready, its code is in ") and found.facts["usable"] and found.facts["ready"]


def test_how_to_install_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = looked(monkeypatch, "numba")
    assert found.says == "not installed (numba missing): pip install numba"
    assert not found.facts["usable"] and "numba" in found.facts["why"] and found.facts["missing"] == ["numba"]


def test_why_it_cannot_be_used(monkeypatch: pytest.MonkeyPatch, own_data_folder: Path) -> None:
    own_data_folder.write_text("a file where a folder should be")
    found = looked(monkeypatch)
    assert found.says.startswith("cannot be used: Its code cannot be kept in ") and not found.facts["usable"]
    monkeypatch.setattr("engine.decode.compiled.MACHINES", ("other",))
    assert looked(monkeypatch).says.startswith("cannot be used: The compiled step knows 64-bit x86 and ARM processors")
