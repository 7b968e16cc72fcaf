"""What each rule of a verdict looks for: functions from the evidence to words and a step, or None where the rule does not apply.

Their order, their names and when they apply, for people, stand in `engine.watching.verdict`; a rule may count on those before it not
having applied. Means of windows are compared, with their standard errors, since single losses are noisy. Pure. Words may hold text
out of files: whoever shows them makes them safe.
"""

from __future__ import annotations

import math

import numpy as np

from engine.run_status import real, whole
from engine.training.watchdog import STALL_FACTOR, STALL_SECONDS, WINDOW
from engine.watching import trends
from engine.watching.evidence import Evidence
from engine.watching.trends import figure, plural, spoken

Found = tuple[str, int | None]
"""Words, and the step that they speak of."""

BUSY_SECONDS = 600.0
"""How long a validation, samples and a checkpoint may take before the run counts as stalled, where the last one took no longer."""
PLATEAU_COUNT, PLATEAU_SHARE = 6, 0.001
NO_BETTER = 3
EARLY = 20
"""Figures below which nothing is said about the curve."""
EXPLODING = 10.0

LEARNING = ("running", "following", "quiet", "unknown")
"""States in which the curve itself is the news."""


def failed(e: Evidence) -> Found | None:
    if e.state != "failed":
        return None
    said = " ".join(e.message.split()) if e.message else "it did not say why."
    return (f"failed: {said}" if "step" in said.lower() else f"failed{_at(e)}: {said}"), e.step


def stale(e: Evidence) -> Found | None:
    if e.state != "stale":
        return None
    last = f"it last said {e.claimed}" if e.claimed else "it never said how it stands"
    at = f", at step {e.step:,}" if e.step is not None else ""
    if e.ahead_s > STALL_SECONDS:
        return f"no sign of life to go by: its clock is {spoken(e.ahead_s)} ahead of this one; {last}{at}", e.step
    gone = "its process is gone: " if e.here else ""
    if e.silent_s is None:
        return f"{gone}no sign of life; {last}{at}", e.step
    return f"{gone}no sign of life for {spoken(e.silent_s)}; {last}{at}", e.step


def not_a_number(e: Evidence) -> Found | None:
    for name, curve in (("loss", e.train), ("validation loss", e.val)):
        if curve.broken_since is not None:
            kind = "not a number" if math.isnan(curve.values[-1]) else "infinite"
            return f"{name} is {kind} since step {curve.broken_since:,}", curve.broken_since
    if e.last_loss is not None and not math.isfinite(e.last_loss):
        at = f" at step {e.step:,}" if e.step is not None else ""
        return f"loss is {'not a number' if math.isnan(e.last_loss) else 'infinite'}{at}", e.step
    return None


def held_up(e: Evidence) -> Found | None:
    if e.state != "paused" or not e.message:
        return None
    return f"held up at step {e.step or 0:,}: {' '.join(e.message.split())}", e.step


def diverging(e: Evidence) -> Found | None:
    rise = trends.rise(e.train)
    if rise is None or rise.recovering:
        return None
    return f"diverging: loss rose from {figure(rise.low)} at step {rise.low_step:,} to {figure(rise.now)}", rise.low_step


def finished(e: Evidence) -> Found | None:
    if e.state != "finished":
        return None
    early = e.step is not None and e.total_steps is not None and e.step < e.total_steps
    head = f"finished early, at step {e.step:,} of {e.total_steps:,}" if early else "finished"
    return f"{head}: {_outcome(e)}", e.best.step if e.best else e.step


def stopped(e: Evidence) -> Found | None:
    if e.state == "stopping":
        return f"stopping after step {e.step or 0:,}, with a checkpoint", e.step
    return (f"stopped{_at(e)}: {_outcome(e)}", e.step) if e.state == "stopped" else None


def paused(e: Evidence) -> Found | None:
    if e.state != "paused":
        return None
    event = e.last_event("paused")
    since = real(event.get("time")) if event else None
    lasts = e.now - since if since is not None else -1.0
    return f"paused{f' for {spoken(lasts)}' if lasts >= 0 else ''}{_at(e)}", e.step


def starting(e: Evidence) -> Found | None:
    if e.loading is not None and not len(e.train) and e.own and e.state in ("unknown", "running"):
        return f"reading its figures: {100 * e.loading:.0f} %", e.step
    if e.state == "starting":
        return f"starting: reading data and making the model{_at(e, ', goes on from step')}", e.step
    if e.state in LEARNING and not len(e.train) and not len(e.val) and not e.step:
        if e.state == "unknown" and e.own:
            return "it does not say how it stands, and has no figures yet", None
        return "waiting for the first step", None
    return None


def stalled(e: Evidence) -> Found | None:
    if e.state != "running" or not e.own or e.last_step_at is None:
        return None
    since = e.now - max(e.last_step_at, _last_event_at(e))
    usual = f" (usual: {spoken(e.usual_step_s)})" if e.usual_step_s is not None else ""
    warned = e.last_event("warning", "resumed", "started")
    told = warned is not None and warned.get("kind") == "stalled" and (whole(warned.get("step")) or 0) >= (e.here_step or 0)
    if since <= 0 or not (told or since > _patience(e)):
        return None
    if e.step is not None and e.here_step is not None and e.step > e.here_step:
        return None  # steps go on, only their figures are not written yet
    return f"no step for {spoken(since)}{usual}, after step {e.here_step or 0:,}", e.here_step


def _last_event_at(e: Evidence) -> float:
    """Unix time of the last thing that happened beside steps: after a start, a sample or a checkpoint, the waiting begins anew."""
    times = (real(row.get("time")) for row in reversed(e.events) if row.get("kind") != "stalled")
    return next((at for at in times if at is not None and at <= e.now), 0.0)


def _patience(e: Evidence) -> float:
    """Seconds without a line of figures that are nothing to speak of."""
    longest = e.longest_gap_s or 0.0
    wait = max(STALL_SECONDS, STALL_FACTOR * (e.usual_step_s or 0.0), STALL_FACTOR * (e.usual_gap_s or 0.0), 3 * longest)
    at = e.here_step or 0
    busy = [e.setting(name) for name in ("evaluate_every", "sample_every", "checkpoint_every")]
    return max(wait, BUSY_SECONDS) if any(every and at % every == 0 for every in busy) or not e.usual_step_s else wait


def quiet(e: Evidence) -> Found | None:
    if e.state != "quiet":
        return None
    lasts = f" for {spoken(e.silent_s)}" if e.silent_s is not None else ""
    usual = f" (usual: {spoken(e.usual_gap_s)})" if e.usual_gap_s is not None else ""
    at = f"; it ends at step {e.here_step:,}" if e.here_step is not None else ""
    return f"quiet: nothing new{lasts}{usual}{at}", e.here_step


def gradient(e: Evidence) -> Found | None:
    if len(e.grad) < 70:
        return None
    values = np.nan_to_num(np.abs(e.grad.values), nan=math.inf, posinf=math.inf)
    now, before = float(np.median(values[-20:])), float(np.median(values[-520:-20]))
    if not before > 0 or not math.isfinite(before) or now < EXPLODING * before:
        return None
    step = int(e.grad.steps[-1])
    times = f"{now / before:,.0f} times its usual {figure(before)}" if math.isfinite(now) else f"usual: {figure(before)}"
    return f"gradient norm exploding: {figure(now)} at step {step:,}, {times}", step


def spike(e: Evidence) -> Found | None:
    jump = trends.spike(e.train)
    if jump is None or jump.recovered:
        return None
    tail = ", and has not come back" if jump.recovered is False else ""
    return f"loss jumped {jump.sigmas:.0f} sigma to {figure(jump.value)} at step {jump.step:,}{tail}", jump.step


def spike_recovered(e: Evidence) -> Found | None:
    jump = trends.spike(e.train)
    if jump is None or jump.recovered is not True:
        return None
    return f"loss jumped {jump.sigmas:.0f} sigma to {figure(jump.value)} at step {jump.step:,}; it has come back", jump.step


def risen(e: Evidence) -> Found | None:
    rise = trends.rise(e.train)
    if rise is None or not rise.recovering:
        return None
    peak = f"{figure(rise.peak)} at step {rise.peak_step:,}"
    return f"loss rose from {figure(rise.low)} to {peak} and is coming down again: {figure(rise.now)}", rise.peak_step


def overfitting(e: Evidence) -> Found | None:
    since = trends.overfits_since(e.train, e.val)
    if since is None:
        return None
    val = e.val.finite()
    low = float(val.values.min())
    return f"overfitting since step {since:,}: validation rose from {figure(low)} to {_val(e, val.values[-1])}", since


def room(e: Evidence) -> Found | None:
    if e.state not in ("running", "paused"):
        return None
    for row in reversed(e.events):
        if row.get("event") in ("started", "resumed") and row.get("after") != "pause":
            return None
        if row.get("event") == "warning" and row.get("kind") == "disk":
            step = whole(row.get("step"))
            said = row.get("message")
            said = " ".join(said.split()).removeprefix("The disk is nearly full: ") if isinstance(said, str) else ""
            return f"disk nearly full{f' at step {step:,}' if step is not None else ''}{f': {said}' if said else ''}", step
    return None


def gaps(e: Evidence) -> Found | None:
    values = e.train.values[-WINDOW * 2 :]
    bad = np.flatnonzero(~np.isfinite(values))
    if not len(bad):
        return None
    step = int(e.train.steps[-len(values) :][bad[-1]])
    return f"loss was not a number {plural(len(bad), 'time')} lately, last at step {step:,}; it goes on since", step


def early(e: Evidence) -> Found | None:
    count = max(len(e.train), len(e.val))
    if count >= EARLY or (len(e.val) >= 4 and not len(e.train)):
        return None
    if not count:  # a list gathers no curves
        return None
    at = e.here_step or 0
    far = plural(at, "step") if e.own else f"{plural(count, 'figure')} so far, at step {at:,}"
    return f"too early to tell: {far}", at


def warm_up(e: Evidence) -> Found | None:
    at = e.here_step or 0
    end = e.setting("warmup_steps")
    if end is not None:
        return (f"learning rate in warm-up: step {at:,} of {end:,}", at) if at < end else None
    return (f"learning rate rises (warm-up), at step {at:,}", at) if in_warm_up(e) else None


def in_warm_up(e: Evidence) -> bool:
    """Whether the learning rate is still rising to its peak: by the settings, else by the last 20 values of it."""
    end = e.setting("warmup_steps")
    if end is not None:
        return (e.here_step or 0) < end
    rates = e.lr.finite().values[-20:]
    return len(rates) >= 5 and bool((np.diff(rates) > 0).all())


def plateau(e: Evidence) -> Found | None:
    val = e.val.finite()
    if len(val) < PLATEAU_COUNT or in_warm_up(e):
        return None
    last = val.values[-PLATEAU_COUNT:]
    low = abs(float(last.mean()))
    if not low or (last.max() - last.min()) / low >= PLATEAU_SHARE:
        return None
    near = np.abs(val.values - last.mean()) / low < PLATEAU_SHARE
    far = np.flatnonzero(~near)
    count = len(val) - (int(far[-1]) + 1 if len(far) else 0)
    since = int(val.steps[-count])
    moved = (val.values[-count:].max() - val.values[-count:].min()) / low
    amount = f"moved {100 * moved:.2g} %" if moved else "has not moved"
    return f"plateau since step {since:,}: validation {amount} over {count} evaluations", since


def no_better(e: Evidence) -> Found | None:
    val = e.val.finite()
    if len(val) <= NO_BETTER:
        return None
    low = int(np.argmin(val.values))
    count = len(val) - 1 - low
    if count < NO_BETTER or (e.best and e.best.step is not None and e.best.step > val.steps[low]):
        return None
    patience = e.setting("patience")
    end = f"; the run ends after {patience}" if patience else ""
    step = int(val.steps[low])
    return f"validation no better for {count} evaluations: best {_val(e, val.values[low])} at step {step:,}{end}", step


def falling_validation(e: Evidence) -> Found | None:
    val = e.val.finite()
    if len(val) < 2:
        return None
    rises = np.flatnonzero(np.diff(val.values) >= 0)
    count = len(val) - 1 - (int(rises[-1]) + 1 if len(rises) else 0)
    if not count:
        return None
    step = int(val.steps[-1])
    times = f"{count} evaluations in a row" if count > 1 else "at the last evaluation"
    return f"healthy: validation fell {times}, to {_val(e, val.values[-1])} at step {step:,}", step


def falling_loss(e: Evidence) -> Found | None:
    trend = trends.trend(e.train)
    if trend is None or trend.share >= 0:
        return None
    pace = f"falls {-trend.per_thousand:.1%} per 1,000 steps" if trend.span >= 1000 else ""
    pace = (pace or f"fell {-trend.share:.1%} over the last {trend.span:,} steps").replace("%", " %")
    return f"healthy: training loss {pace}{_about_validation(e)}", e.here_step


def flat(e: Evidence) -> Found | None:
    if len(e.train.finite()) < EARLY:
        return None
    trend = trends.trend(e.train)
    span = int(e.train.steps[-1] - e.train.steps[0])
    if trend is not None and trend.share > 0:
        return f"training loss rose {trend.share:.1%} over the last {trend.span:,} steps".replace("%", " %"), e.here_step
    return f"training loss has not clearly changed over the last {span:,} steps{_about_validation(e)}", e.here_step


def otherwise(e: Evidence) -> Found | None:
    best = f": best {_val(e, e.best.value)}{_best_at(e)}" if e.best else ""
    if e.state == "running":
        return f"training{_at(e)}{best}", e.step
    return f"it does not say how it stands{_at(e)}{best}", e.step


def _about_validation(e: Evidence) -> str:
    val = e.val.finite()
    if len(val) and e.best and e.best.value > 0:
        above = val.values[-1] / e.best.value - 1
        return (
            f"; validation {f'is {above:.1%} above its best'.replace('%', ' %') if above > 0 else 'is at its best'}{_best_at(e)}"
        )
    every, at = e.setting("evaluate_every"), e.here_step
    if every and at is not None and e.own:
        first = min(every * (at // every + 1), e.total_steps or math.inf)
        return f"; first validation at step {first:,.0f}"
    return "; no validation yet"


def _outcome(e: Evidence) -> str:
    if e.best:
        after = "; it overfitted from there on" if trends.overfits_since(e.train, e.val) is not None else ""
        return f"best {_val(e, e.best.value)}{_best_at(e)}{after}"
    if e.last_loss is not None and e.step is not None:
        return f"training loss {figure(e.last_loss)} at step {e.step:,}, never validated"
    return "no figures" if not e.step else f"{plural(e.step, 'step')}, no figures"


def _val(e: Evidence, value: float) -> str:
    return f"{figure(float(value))} {e.val_unit}".rstrip()


def _at(e: Evidence, words: str = " at step") -> str:
    return f"{words} {e.step:,}" if e.step else ""


def _best_at(e: Evidence) -> str:
    return f" at step {e.best.step:,}" if e.best and e.best.step is not None else ""
