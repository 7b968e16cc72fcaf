"""The verdict on a run, in one short sentence: `judge(evidence_of(feed, now))`. The first rule of `RULES` that applies wins.

`RULES` is in order of gravity, and each rule says in words when it applies; help and documentation are made from it. Pure, but for the
moment in which `evidence_of` holds the feed's lock. Knows no screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.training.watchdog import SPIKE_DEVIATIONS, SPIKE_SHARE, STALL_FACTOR, STALL_SECONDS
from engine.watching import rules
from engine.watching.evidence import Evidence, evidence_of
from engine.watching.rules import Found
from engine.watching.trends import (
    OVERFIT_COUNT,
    OVERFIT_SHARE,
    RISE_ERRORS,
    RISE_SHARE,
    SPIKE_RECENT,
    TREND_ERRORS,
    TREND_POINTS,
    spoken,
)

__all__ = ["LEVELS", "RULES", "Evidence", "Rule", "Verdict", "evidence_of", "judge"]

LEVELS = ("good", "note", "warning", "bad")
"""How grave a verdict is, the least first."""
LONGEST = 300
"""Letters of a verdict at most; a message out of a file may be longer."""


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a run."""

    level: str
    """One of `LEVELS`."""
    rule: str
    """Name of the rule."""
    words: str
    """One line. May hold text out of files: make it safe before it is shown."""
    step: int | None
    """The step that it speaks of; None where it speaks of none."""


@dataclass(frozen=True)
class Rule:
    """One rule: what it is called, how grave it is, when it applies, and how that is found out."""

    name: str
    level: str
    when: str
    """For people, with the numbers that it goes by."""
    find: Callable[[Evidence], Found | None]


RULES = (
    Rule("failed", "bad", "The run ended with an error; its message is shown.", rules.failed),
    Rule("stale", "bad", "The run claims to be alive, but has given no sign of life for a minute, or has no process.", rules.stale),
    Rule("not a number", "bad", "The newest training or validation loss is not a finite number.", rules.not_a_number),
    Rule("held up", "bad", "The trainer waits by itself and says why, as when the disk is full.", rules.held_up),
    Rule(
        "diverging", "bad",
        f"The means of the last two of up to 40 blocks of the newest losses lie over {RISE_SHARE:.0%} above the lowest one before them, "
        f"and by over {RISE_ERRORS:.0f} standard errors, or every loss in them does; and they are not coming down.",
        rules.diverging,
    ),
    Rule("finished", "good", "All steps are done, or the run ended early as its patience asked.", rules.finished),
    Rule("stopped", "note", "Somebody stopped the run, or is stopping it.", rules.stopped),
    Rule("paused", "note", "Somebody paused the run.", rules.paused),
    Rule("starting", "note", "Nothing has been learnt yet, or the figures are still being read.", rules.starting),
    Rule(
        "stalled", "warning",
        f"No step has ended for {STALL_FACTOR:.0f} times the usual time and at least {spoken(STALL_SECONDS)}; after a step with a "
        f"validation, samples or a checkpoint, for at least {spoken(rules.BUSY_SECONDS)}.",
        rules.stalled,
    ),
    Rule(
        "exploding gradient", "warning",
        f"The median of the last 20 gradient norms is {rules.EXPLODING:.0f} times that of the 500 before.",
        rules.gradient,
    ),
    Rule(
        "spike", "warning",
        f"One of the last {SPIKE_RECENT} losses lies over {SPIKE_DEVIATIONS:.0f} standard deviations (sigma) and {SPIKE_SHARE:.0%} "
        "above the mean of the 100 before it, and the loss has not come back.",
        rules.spike,
    ),
    Rule("risen", "warning", "As diverging, but the loss is coming down again.", rules.risen),
    Rule(
        "overfitting", "warning",
        f"The last {OVERFIT_COUNT} validations are worse than the best one, by {OVERFIT_SHARE:.1%} in the mean and by more than they "
        "scatter, and rise, while the training loss fell.",
        rules.overfitting,
    ),
    Rule("disk", "warning", "Since it was started, the trainer has found no room for two more checkpoints.", rules.room),
    Rule("gaps", "warning", "Some of the last 200 training losses were no numbers; the newest is one.", rules.gaps),
    Rule("quiet", "note", "A log of another program has not grown for long.", rules.quiet),
    Rule("too early", "note", f"There are fewer than {rules.EARLY} figures.", rules.early),
    Rule("warm-up", "note", "The learning rate is still rising to its peak.", rules.warm_up),
    Rule(
        "plateau", "note",
        f"Validation moved under {rules.PLATEAU_SHARE:.1%} over the last {rules.PLATEAU_COUNT} evaluations or more.",
        rules.plateau,
    ),
    Rule("no better", "note", f"The best validation is {rules.NO_BETTER} evaluations old, or older.", rules.no_better),
    Rule("spike, recovered", "note", "As a spike, but the loss has come back.", rules.spike_recovered),
    Rule("validation falls", "good", "The last validation is better than the one before it.", rules.falling_validation),
    Rule(
        "loss falls", "good",
        f"The mean training loss of the newer half of the last {TREND_POINTS[0]} figures lies over {TREND_ERRORS:.0f} standard errors "
        f"under that of the older half; else of the last {TREND_POINTS[1]:,} or {TREND_POINTS[2]:,}.",
        rules.falling_loss,
    ),
    Rule("no clear change", "note", "The training loss moves no more than its noise does, or rises a little.", rules.flat),
    Rule("nothing to say", "note", "None of the above, as where no figures are at hand.", rules.otherwise),
)  # fmt: skip
"""In the order in which they are tried."""


def judge(evidence: Evidence) -> Verdict:
    """The verdict: the first rule that applies. Never fails for what the figures are."""
    for rule in RULES:
        found = rule.find(evidence)
        if found is not None:
            words, step = found
            words = " ".join(words.split())
            return Verdict(rule.level, rule.name, words if len(words) <= LONGEST else words[: LONGEST - 1].rstrip() + "…", step)
    raise AssertionError("the last rule applies always")
