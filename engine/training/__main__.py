"""`python -m engine.training RUN_FOLDER`: begin a run that `tinytales-tui train` has made, or go on with it.

By itself it is one process. `--processes N` starts N of them on this machine and watches over them. Under `torchrun`, on one machine or
several that share the folder, each process is one of the run's. Exit codes: 0 ended as it should, 1 failed, 2 wrong usage, 3 network,
130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from pathlib import Path

from engine.errors import NetworkError, TinyTalesError, UsageError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.training", description="Begin a training run, or go on with it.")
    parser.add_argument("folder", type=Path, help="the run's folder")
    parser.add_argument("--processes", type=int, default=1, help="processes to start on this machine")
    parser.add_argument("--foreground", action="store_true", help="tell the progress on standard error")
    asked = parser.parse_args()
    if asked.processes > 1 and "RANK" not in os.environ:
        from engine.training.supervise import supervise

        return supervise(asked.folder, asked.processes, asked.foreground)
    try:
        from engine.training.run import train

        train(asked.folder, _tell if asked.foreground else lambda line: None)
    except KeyboardInterrupt:
        return 130
    except TinyTalesError as error:
        _tell(str(error))
        return 2 if isinstance(error, UsageError) else 3 if isinstance(error, NetworkError) else 1
    except Exception:
        traceback.print_exc()  # for the run's log; status.json has the sentence
        return 1
    return 0


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more, and the run goes on
        sys.stderr.write("".join(letter if letter.isprintable() else " " for letter in line) + "\n")
        sys.stderr.flush()


if __name__ == "__main__":
    code = main()
    if "RANK" in os.environ:
        # The threads of gloo do not always outlive an orderly exit ("terminate called without an active exception"), which would make a
        # failed run of a finished one. Everything is written and synced by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
