"""What `tinytales-tui checkpoints download` and `verify` do: results on standard output, narration on standard error.

No Textual, no torch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from engine.catalog.entries import Entry
from engine.catalog.facts import facts_of
from engine.checkpoints.hub_names import hub_name
from engine.errors import TinyTalesError, UsageError
from engine.hub.downloads import Download, Downloads
from engine.hub.failures import Unreached, failure_of
from engine.hub.fetching import fetch_cached
from engine.hub.planning import Plan, plan, refuse_if_full
from engine.hub.verifying import Verified, verify
from engine.interrupt import Interrupt
from tinytales_tui import paths
from tinytales_tui.checkpoints_find import find, look
from tinytales_tui.figures import counted, duration, size
from tinytales_tui.output import json_line, note, put
from tinytales_tui.output import quiet as silent
from tinytales_tui.progress_line import ProgressLine
from tinytales_tui.report import DONE, FAILED, INTERRUPTED, report
from tinytales_tui.text import one_line

LOOKS_A_SECOND = 5


def download_all(ids: Sequence[str], revision: str | None, file: str | None, *, dry_run: bool, as_json: bool, quiet: bool) -> int:
    """Plan, show, and fetch; the worst exit code of all. Finished files stay where another one fails."""
    say = silent if quiet else note
    wanted = [_wanted(id, revision, file) for id in ids]
    worst, plans = DONE, []
    for repo, asked, pattern in wanted:
        try:
            made = plan(repo, asked, pattern)
            _tell_plan(made, say)
            refuse_if_full(made)
            plans.append((made, asked, pattern))
        except TinyTalesError as error:
            if here := _here(repo, asked, pattern, error):
                say(here)
            else:
                worst = max(worst, report(lambda error=error: _raise(error)))
    if dry_run:
        if as_json:
            put(json_line([made.to_json() | {"to_fetch": made.to_fetch, "size": made.size} for made, _, _ in plans]).rstrip("\n"))
        return worst
    if not plans:
        return worst
    return max(worst, _fetch(plans, as_json, quiet, say))


def _here(repo: str, revision: str | None, pattern: str | None, error: TinyTalesError) -> str:
    """Where the Hub could not be reached: that it is in the cache, if it is; else nothing."""
    if not isinstance(error, Unreached):
        return ""
    if fetch_cached(repo, pattern, revision) is None:
        return ""
    return f"{one_line(repo, 100)} is here; whether the Hub has a newer version is not known: it could not be reached{error.why}."


def _wanted(id: str, revision: str | None, file: str | None) -> tuple[str, str | None, str | None]:
    """(repository, revision, pattern) of what was typed."""
    named = hub_name(id, patterns=True)
    if named is None:
        raise UsageError(
            f"{one_line(id, 100)} is not a name that the Hub could have; it looks like owner/name, or owner/name/file.pt."
        )
    if named.revision and revision:
        raise UsageError(f"{one_line(id, 100)} names a revision already; leave --revision out.")
    if named.file and file:
        raise UsageError(f"{one_line(id, 100)} names a file already; leave --file out.")
    return named.repo, named.revision or revision, named.file or file


def _tell_plan(made: Plan, say: object) -> None:
    missing = [file for file in made.files if not file.cached]
    head = f"{one_line(made.repo, 100)} at {made.commit[:7]}"
    if not missing:
        say(f"{head}: everything ({counted(len(made.files), 'file')}, {size(made.size)}) is in the cache already.")  # type: ignore[operator]
        return
    say(f"{head}: {len(missing)} of {counted(len(made.files), 'file')}, {size(made.to_fetch)}; {size(made.free_bytes)} are free.")  # type: ignore[operator]
    for file in missing:
        say(f"  {size(file.size):>10}  {one_line(file.name, 200)}")  # type: ignore[operator]


def _fetch(plans: Sequence[tuple[Plan, str | None, str | None]], as_json: bool, quiet: bool, say: object) -> int:
    line = ProgressLine(quiet)
    downloads = Downloads(history=paths.download_history())
    try:
        with Interrupt() as interrupt:
            ids = [downloads.add(made.repo, asked, pattern).id for made, asked, pattern in plans]
            while not all(downloads.get(id).over for id in ids):
                if interrupt.came:
                    downloads.close()
                    line.end()
                    note("Interrupted. Finished files stay; a file that was cut off begins anew the next time.")
                    return INTERRUPTED
                line.show(" · ".join(_progress(downloads.get(id)) for id in ids if not downloads.get(id).over))
                time.sleep(1 / LOOKS_A_SECOND)
        line.end()
        ended = [downloads.get(id) for id in ids]
    finally:
        line.end()
        downloads.close()
    worst = DONE
    for one in ended:
        if one.state == "done":
            refused = facts_of(one.path).refused if one.path else ""
            if refused:
                note(f"{one.repo} is there, but it cannot be opened: {one_line(refused, 400)}")
                worst = max(worst, FAILED)
            else:
                say(f"{one.repo} is there, and its checksums are right.")  # type: ignore[operator]
            if not as_json:
                put(str(one.path))
        else:
            failure = failure_of(one.kind, one.message or f"{one.repo} was not downloaded.")
            worst = max(worst, report(lambda failure=failure: _raise(failure)))
    if as_json:
        known = [
            {
                "repo": one.repo,
                "revision": one.plan.commit if one.plan else one.revision,
                "state": one.state,
                "path": str(one.path or ""),
                "bytes": one.total_bytes,
                "message": one.message,
            }
            for one in ended
        ]
        put(json_line(known).rstrip("\n"))
    return worst


def _progress(one: Download) -> str:
    name = one.repo.rpartition("/")[2]
    if one.state in ("waiting", "planning") or not one.total_bytes:
        return f"{name}: {one.state}"
    words = f"{name}: {100 * one.done_bytes / one.total_bytes:.0f} % of {size(one.total_bytes)}"
    words += f", {size(one.speed)}/s" if one.speed else ""
    words += f", {duration(one.eta_s)} left" if one.eta_s is not None else ""
    return words if one.state == "downloading" else f"{name}: {one.state}"


def verify_all(sources: Sequence[str], as_json: bool, quiet: bool) -> int:
    """Compare checksums; 1 where one is wrong."""
    listing, _ = look()
    if sources:
        entries = [entry for source in sources for entry in find(listing, source)]
    else:
        entries = [entry for entry in listing.entries if entry.origin == "hub"]
        if not entries and not as_json:
            note("There is nothing from the Hub in the cache.")
    line = ProgressLine(quiet)
    results: list[tuple[Entry, Verified]] = []
    seen: dict[str, Verified] = {}
    try:
        for entry in entries:
            folder = entry.path if entry.path.is_dir() else entry.path.parent

            def told(name: str, done: int, total: int, entry: Entry = entry) -> None:
                line.show(f"{one_line(entry.name, 60)}: {one_line(name, 60)}, {100 * done / max(total, 1):.0f} %")

            if str(folder) not in seen:
                seen[str(folder)] = verify(folder, told)
            results.append((entry, seen[str(folder)]))
    except KeyboardInterrupt:
        line.end()
        return INTERRUPTED
    finally:
        line.end()
    if as_json:
        known = [
            {"source": entry.source, "path": str(entry.path), "checked": found.checked, "bytes": found.bytes,
             "wrong": list(found.wrong), "missing": entry.partial, "unknown": list(found.unknown)}
            for entry, found in results
        ]  # fmt: skip
        put(json_line(known).rstrip("\n"))
    else:
        for entry, found in results:
            put(f"{one_line(entry.source, 200)}: {_verdict(found, entry.partial)}")
    return FAILED if any(found.wrong or entry.partial for entry, found in results) else DONE


def _verdict(found: Verified, missing: str) -> str:
    if found.wrong:
        names = ", ".join(one_line(name, 100) for name in found.wrong[:5])
        return f"DAMAGED: {names}; delete it and download it again"
    if missing:
        return f"NOT WHOLE: missing {one_line(missing, 200)}; download it again"
    if found.sound:
        beside = f"; {len(found.unknown)} more without one" if found.unknown else ""
        return f"{counted(found.checked, 'checksum')} compared, all right ({size(found.bytes)}){beside}"
    return f"no checksums to compare with ({counted(len(found.unknown), 'file')}); nothing is cut off"


def _raise(error: TinyTalesError) -> None:
    raise error
