"""Several training processes on one machine, through torch's own launcher, and one who notices how they end.

`torchrun` ends the others when one dies; what it does not know is the run directory. If rank 0 died without a word, the run is marked
as failed here, so that nobody waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import uuid
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from engine import files
from engine.errors import UsageError
from engine.growing_files import read_json
from engine.run_status import ENDED_STATES
from engine.runs import RunDirectory


def supervise(folder: Path, processes: int, foreground: bool) -> int:
    """Run the processes to their end and return an exit code."""
    run = RunDirectory(folder)
    run.config()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
        start_method="spawn",
    )
    threads = max(1, (os.cpu_count() or processes) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    arguments = ["-m", "engine.training", str(folder), *(["--foreground"] if foreground else [])]
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # how it ends is told by the run
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        _mark_failed(run, error)
        codes = {failure.exitcode for failure in error.failures.values()}
        return 2 if codes == {2} else 1
    except SignalException as error:
        _mark(run, f"It was ended ({error}) before it could save; it can be resumed from its last checkpoint.")
        return 130
    return 0


def _mark_failed(run: RunDirectory, error: ChildFailedError) -> None:
    rank, failure = error.get_first_failure()
    how = f"by signal {-failure.exitcode}" if failure.exitcode < 0 else f"with exit code {failure.exitcode}"
    _mark(run, f"Process {rank} of this run ended {how}; it can be resumed from its last checkpoint.")


def _mark(run: RunDirectory, message: str) -> None:
    """Mark the run as failed, unless it has said itself how it ended, or is somebody else's by now."""
    status = read_json(run.path / "status.json") or {}
    if status.get("state") in ENDED_STATES:
        return
    with contextlib.suppress(UsageError, OSError), run.lock():
        files.write_json(run.path / "status.json", status | {"state": "failed", "message": message})
        run.event("failed", int(status.get("step") or 0), message=message)
