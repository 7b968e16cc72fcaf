"""`tinytales-tui doctor`: looks at everything the program needs and says what it found, each line measured. No Textual.

A check that something needed is broken makes the exit code 1; the rest is for information.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.version import __version__
from tinytales_tui import paths, terminal
from tinytales_tui.story import cost_words
from tinytales_tui.text import safe_text

if TYPE_CHECKING:
    from engine.decode.remembered import Choice


@dataclass(frozen=True)
class Check:
    """One finding. `ok` None: there is nothing to be broken, it is a fact."""

    name: str
    ok: bool | None
    says: str
    facts: dict[str, Any]


def run_doctor(as_json: bool) -> int:
    """Print all checks; 1 if one that is needed failed."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a locale without × must not hide the rest
    checks: list[Check] = []
    for name, look in _LOOKS.items():
        try:
            found = look()
        except Exception as error:  # whatever is broken is a finding
            found = Check(name, False, str(error) or type(error).__name__, {})
        checks.append(found)
        if not as_json:
            print(_line(found), flush=True)
    healthy = all(check.ok is not False for check in checks)
    if as_json:
        print(json.dumps({"healthy": healthy, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        print("\nAll that is needed works." if healthy else "\nSomething that is needed is broken; see the lines marked !.")
    return 0 if healthy else 1


def _line(check: Check) -> str:
    mark = {True: "ok", False: "!", None: "-"}[check.ok]
    return f"{mark:>2}  {check.name:<{max(map(len, _LOOKS))}} {safe_text(check.says)}"


def _program() -> Check:
    return Check("program", None, f"tinytales-tui {__version__}", {"version": __version__})


def _python() -> Check:
    fine = sys.version_info >= (3, 11)
    says = f"{platform.python_version()} on {platform.system()} {platform.machine()}" + (
        "" if fine else "; 3.11 or newer is needed"
    )
    return Check("Python", fine, says, {"version": platform.python_version(), "executable": sys.executable})


def _torch() -> Check:
    begun = time.perf_counter()
    import engine.devices as devices

    seconds = time.perf_counter() - begun
    facts = devices.describe() | {"import_s": round(seconds, 2)}
    says = f"{facts['torch']}, {facts['threads']} threads on {facts['cores']} cores, imported in {seconds:.1f} s"
    return Check("torch", True, says, facts)


def _device() -> Check:
    import engine.devices as devices

    device = devices.choose_device()
    bf16 = devices.supports_bf16(device)
    return Check("device", None, f"{device}{' with bf16 arithmetic' if bf16 else ''}", {"device": str(device), "bf16": bf16})


def _terminal() -> Check:
    found = terminal.detect()
    parts = [
        f"{found.columns}×{found.rows}",
        found.name,
        f"{found.colours} colours" if found.colours.isdigit() else found.colours,
    ]
    parts += ["Unicode" if found.unicode else "ASCII"] + ["tmux"] * found.tmux + ["SSH"] * found.ssh
    return Check("terminal", None, ", ".join(parts) + (f". {found.problem}" if found.problem else ""), found.describe())


def _data_folder() -> Check:
    folder = paths.data_folder()
    paths.ensure(folder)
    with tempfile.TemporaryFile(dir=folder):
        pass
    free = shutil.disk_usage(folder).free
    return Check("data folder", True, f"{paths.shown(folder)}, {_size(free)} free", {"path": str(folder), "free_bytes": free})


def _hub_cache() -> Check:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE)
    standing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(standing).free
    facts = {"path": str(folder), "exists": folder.exists(), "free_bytes": free, "offline": constants.HF_HUB_OFFLINE}
    says = f"{paths.shown(folder)}{'' if folder.exists() else ' (not there yet)'}, {_size(free)} free"
    return Check("Hub cache", None, says + (", offline by HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else ""), facts)


def _compiled_step() -> Check:
    from engine.checkpoints.load import default_folder
    from engine.decode import library, remembered
    from engine.decode.choose import kernel_folder
    from engine.decode.compiled import available

    folder = kernel_folder()
    ready, why = library.ready(folder), available(folder)
    standing = next(place for place in (folder, *folder.parents) if place.exists())
    missing = [package for package in ("numba", "llvmlite") if importlib.util.find_spec(package) is None]
    if why and missing:
        told = f"not installed ({' and '.join(missing)} missing): pip install numba"
    elif why:
        told = f"cannot be used: {why}"
    elif ready and (why := library.fault(folder)):
        told = f"cannot be used: its code in {paths.shown(folder)} cannot be loaded ({why})"
    elif ready:
        told = f"ready, its code is in {paths.shown(folder)}"
    elif not (standing.is_dir() and os.access(standing, os.W_OK)):
        why = f"Its code cannot be kept in {paths.shown(folder)}."
        told = f"cannot be used: {why}"
    else:
        told = "will be compiled at first use (about ten seconds)"
    facts = {"usable": not why, "ready": ready, "folder": str(folder), "missing": missing, "why": why}
    chosen = remembered.lookup(folder, remembered.Subject.of(default_folder()))
    if chosen is not None:
        told += f"; {_chosen(chosen)}"
        facts["chosen"] = asdict(chosen)
    return Check("compiled step", None, told, facts)


def _chosen(choice: Choice) -> str:
    """What was found out about the story model on this machine, or why not."""
    if choice.failed:
        return f"given up for a day: {choice.reason}"
    if not choice.speeds:
        return choice.reason
    name = f"{choice.step} {choice.precision}"
    cost = "" if choice.precision == "fp32" else f", {cost_words(choice.losses.get(choice.precision))}"
    plain = choice.speeds.get("plain fp32")
    faster = f", {choice.speeds[name] / plain:.1f} times as fast as the network" if plain and name in choice.speeds else ""
    return f"the story model is written with by {name}{cost}{faster}"


def _story_model() -> Check:
    from engine import GenerationRequest, SamplingSettings, generate, load_checkpoint
    from engine.devices import use_threads
    from engine.protocol import Finished, Token

    begun = time.perf_counter()
    checkpoint = load_checkpoint()
    parameters = checkpoint.network.parameter_count()
    use_threads(None, parameters)
    loaded = time.perf_counter() - begun
    sampling = SamplingSettings(temperature=0.0, max_tokens=60, stop=("\n",))
    request = GenerationRequest(topic="a lost dog", ending="happy", sampling=sampling)
    events = list(generate(checkpoint, request))
    sentence = "".join(event.text for event in events if isinstance(event, Token | Finished)).strip()
    end = next(event for event in events if isinstance(event, Finished))
    facts = {
        "parameters": parameters,
        "load_s": round(loaded, 3),
        "ttft_s": end.ttft_s,
        "tokens_per_s": end.tokens_per_s,
        "sentence": sentence,
    }
    says = f"{parameters / 1e6:.1f}M parameters, loaded in {loaded:.1f} s, {end.tokens_per_s:,.0f} tokens/s: “{sentence}”"
    return Check("story model", bool(sentence), says, facts)


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB"


_LOOKS: dict[str, Callable[[], Check]] = {
    "program": _program,
    "Python": _python,
    "torch": _torch,
    "device": _device,
    "terminal": _terminal,
    "data folder": _data_folder,
    "Hub cache": _hub_cache,
    "compiled step": _compiled_step,
    "story model": _story_model,
}
