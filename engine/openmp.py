"""How long the threads of a CPU build of torch look for work before they sleep; OpenMP reads it when torch is first imported.

GNU's own choice (300,000 turns) makes small products crawl beside another busy program: the thread that waits burns the time of the one
it waits for. On two cores, a story of 30 million parameters by two threads wrote 48 tokens a second beside one busy program with it and
106 with 1,000 turns, and 105 and 107 on an idle machine; training did not change when idle with 10,000 (6,604 and 6,661 tokens a
second) and was six times as fast beside another program. Knows no torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

WRITING = 1_000
TRAINING = 10_000
NAME = "GOMP_SPINCOUNT"


def turns(count: int, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What to add to the environment of a process for so many turns; nothing where a person has said what to do."""
    return {} if NAME in environment or "OMP_WAIT_POLICY" in environment else {NAME: str(count)}
