"""Helpers of the engine's tests are importable by name; the folder for compiled code is one for all of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled code is kept: one folder for all processes of a test run; the first folder of a process serves all its tests."""
    return tmp_path_factory.getbasetemp().parent / "compiled"
