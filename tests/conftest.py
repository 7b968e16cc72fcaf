"""Fixtures that all tests share: small real checkpoints, made once, and a data folder of their own for every test."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may depend on a network
os.environ.setdefault("TINYTALES_DEBUG", "")
os.environ["TINYTALES_NO_BACKGROUND"] = "1"  # what a worker makes ready by itself has tests of its own


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything the program writes of its own goes below the test's temporary folder."""
    home = tmp_path / "tinytales-home"
    monkeypatch.setenv("TINYTALES_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama-shaped model of 40,000 parameters that knows topics and endings."""
    from small import save_tiny

    return save_tiny(tmp_path_factory.mktemp("checkpoints") / "tiny", "rope")


@pytest.fixture(scope="session")
def plain_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same GPT-2-shaped, without topics and endings."""
    from small import save_tiny

    return save_tiny(tmp_path_factory.mktemp("checkpoints") / "plain", "learned", style="plain")
