"""The model that travels with the package: that it is small, exact, and writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import engine
from engine.checkpoints.load import default_folder
from engine.evaluation.stories import write_stories
from engine.settings import SAMPLING_PRESETS
from engine.training.recipes import load_recipe


def test_it_is_small_and_all_there() -> None:
    files = {path.name: path.stat().st_size for path in default_folder().iterdir()}
    assert set(files) == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "tinytales.json",
        "README.md",
    }
    assert sum(files.values()) <= 12_000_000


def test_it_was_trained_with_the_values_of_the_recipe() -> None:
    checkpoint = engine.load_checkpoint()
    recipe = load_recipe("default", {"data": checkpoint.card["training"]["data"]})
    values, trained = recipe.to_json(), checkpoint.card["training"]
    shared = (values.keys() & trained.keys()) - {"sample_every", "stored_as"}  # neither changes what is learnt
    assert len(shared) > 25 and set(trained) - set(values) == {"accumulation"}  # one forward pass a step, then and now
    for key in shared:
        assert values[key] == (tuple(trained[key]) if isinstance(trained[key], list) else trained[key]), key
    assert trained["accumulation"] == 1 and recipe.micro_tokens is None and recipe.layout == "stories"
    assert replace(recipe.model_config(4096), dropout=0.0) == checkpoint.config


def test_its_card_states_the_figures_and_the_licence() -> None:
    card = (default_folder() / "README.md").read_text(encoding="utf-8")
    for word in ("CDLA-Sharing-1.0", "bits per byte", "end by themselves", "a/an/the", "asked ending"):
        assert word in card, word


def test_transformers_gives_the_same_logits() -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(default_folder()).eval()
    ours = engine.load_checkpoint(device="cpu")
    ids = torch.randint(0, ours.config.vocab_size, (2, 200), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(theirs(ids).logits, ours.network(ids), atol=2e-4, rtol=1e-4)
        text = ours.tokenizer.encode("Once upon a time")
        greedy = theirs.generate(torch.tensor([[0, *text]]), do_sample=False, max_new_tokens=40, pad_token_id=0)[
            0, 1 + len(text) :
        ]
    sampling = engine.SamplingSettings(temperature=0.0, max_tokens=40, stop_loops=False)
    events = engine.generate(ours, engine.GenerationRequest(opening="Once upon a time", sampling=sampling))
    assert [event.token for event in events if type(event).__name__ == "Token"] == greedy.tolist()


def test_stories_end_and_read_like_english() -> None:
    checkpoint = engine.load_checkpoint(device="cpu")
    torch.set_num_threads(1)
    sampling = replace(checkpoint.sampling or SAMPLING_PRESETS["balanced"], temperature=0.8)
    written = write_stories(checkpoint, sampling, count=12, seed=100)
    assert sum(one.reason == "end of text" for one in written) >= 11
    assert all(re.search(r"\b(?:a|an|the)\b", one.story, re.IGNORECASE) for one in written)
    assert all(len(one.story.split()) > 30 for one in written)


def test_the_command_that_judges_its_stories() -> None:
    command = [
        sys.executable,
        "-m",
        "tinytales_tui",
        "evaluate",
        "--stories",
        "--count",
        "6",
        "--preset",
        "recommended",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    report = json.loads(done.stdout)["written"]
    figures = report["presets"]["recommended"]
    assert figures["stories"] == 6 and figures["ended_by_themselves"] >= 0.5 and figures["ending_met"] >= 0.5
    assert figures["with_article"] == 1 and figures["repeated_3_share"] < 0.2 and 0.2 < figures["distinct_1"] < 0.6
    assert report["judge"]["agreement"] > 0.9 and report["judge"]["licence"] == "CDLA-Sharing-1.0"


def test_the_command_with_nothing_but_the_package(tmp_path: Path) -> None:
    """From another folder, with an empty home and no network to be had."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-m", "tinytales_tui", "--prompt", "a lost dog", "--ending", "sad", "--seed", "7"]
    first, second = (
        subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment) for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout and "dog" in first.stdout and len(first.stdout) > 200
    assert not any(tmp_path.iterdir())  # writing a story leaves nothing behind


def test_default_sampling_is_the_checkpoints_own() -> None:
    checkpoint = engine.load_checkpoint()
    assert checkpoint.sampling is not None
    command = [sys.executable, "-m", "tinytales_tui", "-p", "a cat", "--json", "-s", "1", "--max-tokens", "5"]
    row = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=120).stdout)
    told = row["sampling"] | {"seed": None, "max_tokens": checkpoint.sampling.max_tokens}
    assert told == json.loads(json.dumps(checkpoint.sampling.to_json()))
