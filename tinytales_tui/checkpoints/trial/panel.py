"""Where a checkpoint tries its hand: a story below the list, and what was measured while it was written."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical

from tinytales_tui.checkpoints.trial.probe import Attempt, Probe
from tinytales_tui.figures import duration
from tinytales_tui.text import one_line
from tinytales_tui.widgets.lines import Lines
from tinytales_tui.widgets.story_view import StoryView
from tinytales_tui.write.status import REASONS


def asked_words(attempt: Attempt, probe: Probe) -> str:
    """What it was asked, in a few words."""
    if attempt.given:
        return f"goes on from “{one_line(attempt.given, 60)}”"
    return f"{one_line(probe.topic, 60)}, with a {probe.ending} ending" if attempt.checkpoint is not None else ""


def measured_words(attempt: Attempt) -> str:
    """What was measured, as far as it is known; where there is no sample, why."""
    match attempt.state:
        case "waiting":
            return "waits for the other"
        case "loading":
            return "being loaded…"
        case "failed":
            return attempt.message
    parts = [f"{attempt.tokens} tokens"]
    if attempt.tokens_per_s is not None:
        parts.append(f"{attempt.tokens_per_s:,.0f} tokens/s")
    if attempt.ttft_s is not None:
        parts.append(f"first after {attempt.ttft_s:.2f} s")
    if attempt.load_s is not None:
        parts.append(f"loaded in {duration(attempt.load_s) if attempt.load_s >= 10 else f'{attempt.load_s:.2f} s'}")
    if attempt.state == "writing":
        parts.append("writing…")
    elif attempt.reason:
        parts.append(REASONS.get(attempt.reason, attempt.reason))
    return " · ".join(parts)


class Sample(Vertical):
    """One attempt: its name and question, the story, the measures. `show` may be called for every batch of tokens."""

    DEFAULT_CSS = """
    Sample {
        & > StoryView { height: 1fr; }
        & > Lines { background: $surface; }
        & .lines--muted { color: $text-muted; }
        & .lines--strong { color: $foreground; text-style: bold; }
        & .lines--warning { color: $text-warning; }
    }
    """

    def __init__(self, label: str = "", *, id: str | None = None, half_pages: bool = False) -> None:
        super().__init__(id=id)
        self._label = label
        self._half_pages = half_pages
        self._shown: Attempt | None = None

    def compose(self) -> ComposeResult:
        yield Lines(1, id="asked")
        yield StoryView(half_pages=self._half_pages)
        yield Lines(1, id="measured")

    @property
    def story(self) -> StoryView:
        return self.query_one(StoryView)

    def show(self, attempt: Attempt, probe: Probe, hint: str = "") -> None:
        """Show how far it has come; text that only grew is only added to."""
        before, self._shown = self._shown, attempt
        asked, measured = self.query_one("#asked", Lines), self.query_one("#measured", Lines)
        name = one_line(f"{self._label}{attempt.name}", 60)
        words = asked_words(attempt, probe)
        asked.show([Text.assemble((name, asked.tone("strong")), (f"  {words}" if words else "", asked.tone("muted")))])
        tone = measured.tone("warning" if attempt.state == "failed" else "muted")
        measured.show([Text("  ".join(filter(None, (measured_words(attempt), hint))), tone)])
        grown = before is not None and before.source == attempt.source and before.given == attempt.given
        if grown and before is not None and attempt.text.startswith(before.text) and before.text:
            self.story.append(attempt.text[len(before.text) :])
        elif before is None or (attempt.text, attempt.given) != (before.text, before.given):
            self.story.show_story("", attempt.given if attempt.text else "", attempt.text)
