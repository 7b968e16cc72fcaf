"""The parts that know no Textual: text, records, settings, paths, terminal, and what may import what."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from engine.errors import UsageError
from engine.settings import SamplingSettings
from tinytales_tui import paths, settings, terminal
from tinytales_tui.options import AppOptions
from tinytales_tui.settings import UiSettings
from tinytales_tui.story import StoryRecord
from tinytales_tui.text import one_line, safe_text
from tinytales_tui.widgets.plain_filters import to_ascii


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain\nwords", "plain\nwords"),
        ("\x1b[31mred\x1b]0;title\x07", "[31mred]0;title"),
        ("c1 \x9b31m \x85", "c1 31m "),
        ("tab\tand\r\nreturn", "tab    and\nreturn"),
        ("\u202eback\u2066wards\u200b\ufeff", "backwards"),
        ("line\u2028break", "line\nbreak"),
        ("half \ud83d", "half \ufffd"),
        ("é “quoted” 日本 😀", "é “quoted” 日本 😀"),
    ],
)
def test_safe_text(text: str, safe: str) -> None:
    assert safe_text(text) == safe
    assert "".join(map(safe_text, text)) == safe  # a stream is cut anywhere


def test_every_control_code_is_taken_out() -> None:
    controls = "".join(map(chr, [*range(32), *range(0x7F, 0xA0)]))
    assert safe_text(controls).replace(" ", "") == "\n"


def test_one_line() -> None:
    assert one_line("a\nb   c", 10) == "a b c"
    assert one_line("a long sentence", 8) == "a long…"


def test_to_ascii_keeps_the_width() -> None:
    for text in ("━━●── “hi” é 日本 😀 … –", "│ ▸ ●"):
        assert to_ascii(text).isascii()
        assert cell_len(to_ascii(text)) == cell_len(text)


def test_story_records() -> None:
    first = StoryRecord("a dog", "sad", "One.", seed=1, sampling=SamplingSettings().to_json())
    assert first.full_text == "One."
    second = StoryRecord("a dog", "sad", " Two.", opening="One.", before=first)
    assert (second.full_text, second.given) == ("One. Two.", "")
    assert StoryRecord.from_json(json.loads(json.dumps(second.to_json()))) == second
    assert StoryRecord("The dog", None, " ran.").full_text == "The dog ran."
    assert StoryRecord("", None, " ran.", opening="Once").full_text == "Once ran."
    assert "before" not in first.to_json()
    request = first.request()
    assert (request.topic, request.ending, request.sampling.seed) == ("a dog", "sad", 1)
    for broken in (None, [], {}, {"prompt": 1, "story": "x"}, {"prompt": "x", "story": "y", "ending": "odd"}):
        with pytest.raises(UsageError):
            StoryRecord.from_json(broken)


def test_settings_round_trip(home: Path) -> None:
    assert settings.load() == settings.LoadedSettings(UiSettings())
    mine = UiSettings(theme="nord", preset="custom", sampling=SamplingSettings(temperature=1.5), seed=9, seed_locked=True)
    settings.save(mine)
    assert settings.load().settings == mine
    data = json.loads((home / "settings.json").read_text())
    (home / "settings.json").write_text(json.dumps(data | {"of a later version": 1}))
    assert settings.load().settings == mine


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '{"seed": -1}', '{"sampling": {"temperature": 99}}', '{"ending": 3}', "\xff\xfe"]
)
def test_damaged_settings_are_kept_aside(home: Path, content: str) -> None:
    home.mkdir()
    (home / "settings.json").write_bytes(content.encode("latin-1"))
    assert settings.looks(AppOptions()) == settings.Looks(ascii=False, low_bandwidth=False)
    loaded = settings.load()
    assert loaded.settings == UiSettings()
    assert "damaged" in loaded.notice
    assert "\n" not in loaded.notice
    assert (home / "settings.json.damaged-1").read_bytes() == content.encode("latin-1")
    assert not (home / "settings.json").exists()


async def test_the_app_says_that_its_settings_were_damaged(home: Path, make_app) -> None:
    home.mkdir()
    (home / "settings.json").write_text("nonsense")
    app = make_app()
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.pause()
        assert any("damaged" in note.message for note in app._notifications)


def test_everything_lies_under_the_data_folder(home: Path) -> None:
    for place in (
        paths.settings_file,
        paths.autosave_folder,
        paths.stories_folder,
        paths.runs_folder,
        paths.worker_log,
        paths.last_copy_file,
    ):
        assert place().is_relative_to(home)


def test_without_a_choice_the_systems_folder_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYTALES_HOME")
    assert paths.data_folder().name == "tinytales-tui"


@pytest.mark.parametrize(
    ("environ", "facts"),
    [
        ({"TERM": "xterm-256color", "LANG": "en_GB.UTF-8"}, {"colours": "256", "unicode": True, "ssh": False, "tmux": False}),
        ({"TERM": "xterm", "COLORTERM": "truecolor", "LANG": "C"}, {"colours": "truecolor", "unicode": False}),
        ({"TERM": "screen-256color", "TMUX": "x", "SSH_TTY": "/dev/pts/1"}, {"tmux": True, "ssh": True}),
        ({"TERM": "linux", "LC_ALL": "de_DE.ISO-8859-1", "LANG": "C.UTF-8"}, {"colours": "16", "unicode": False}),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, {"colours": "none", "no_color": True}),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, {"colours": "256", "no_color": False}),
        ({"TERM": "dumb"}, {"colours": "none", "dumb": True}),
        ({}, {"name": "windows" if sys.platform == "win32" else "unknown"}),
    ],
)
def test_terminal_facts(environ: dict[str, str], facts: dict[str, object]) -> None:
    found = terminal.detect(environ).describe()
    assert {key: found[key] for key in facts} == facts
    json.dumps(found)


def test_ssh_chooses_low_bandwidth_unless_told_otherwise() -> None:
    over_ssh = terminal.detect({"TERM": "xterm", "SSH_CONNECTION": "x", "LANG": "C"})
    assert settings.looks(AppOptions(), UiSettings(), over_ssh) == settings.Looks(ascii=True, low_bandwidth=True)
    chosen = UiSettings(low_bandwidth=False, ascii=False)
    assert settings.looks(AppOptions(), chosen, over_ssh) == settings.Looks(ascii=False, low_bandwidth=False)
    assert settings.looks(AppOptions(ascii=True, low_bandwidth=True), chosen).low_bandwidth


def test_the_environment_is_prepared_before_textual() -> None:
    code = (
        "from tinytales_tui import terminal; terminal.prepare_environment(True); import sys; assert 'textual' not in sys.modules\n"
        "from textual import constants; print(constants.MAX_FPS, constants.TEXTUAL_ANIMATIONS)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["15", "none"]


def loaded_by(statement: str) -> set[str]:
    """Names of the modules that a fresh Python has after a statement."""
    code = f"{statement}\nimport sys; print('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_app_imports_no_torch_and_no_hub() -> None:
    modules = loaded_by("import tinytales_tui.app")
    assert "textual" in modules
    assert not modules & {"torch", "transformers", "huggingface_hub", "numpy", "tokenizers", "tiktoken"}


def test_no_screen_imports_torch() -> None:
    walk = "import importlib, pkgutil, tinytales_tui as t\nfor m in pkgutil.walk_packages(t.__path__, 'tinytales_tui.'):\n"
    modules = loaded_by(walk + "    m.name.endswith('__main__') or importlib.import_module(m.name)")
    assert {"tinytales_tui.compare.screen", "tinytales_tui.library.pane.screen", "tinytales_tui.reading.screen"} <= modules
    assert "torch" not in modules


def test_the_plain_parts_import_no_textual() -> None:
    names = (
        "story text paths settings terminal options clipboard engine_client generation write.desk write.autosave write.saving "
    )
    names += "write.story_keeper write.page.marks write.page.moves write.tree.rows write.tokens.steps write.steering.steering "
    names += "write.steering.standing compare.columns compare.question compare.differences compare.running reading.paging"
    modules = loaded_by("import " + ", ".join(f"tinytales_tui.{name}" for name in names.split()))
    assert not modules & {"textual", "torch", "huggingface_hub"}
    assert not loaded_by("import tinytales_tui") & {"textual", "torch", "engine"}
