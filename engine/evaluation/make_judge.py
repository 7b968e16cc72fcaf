"""Makes `ending_judge.npz` again: `python -m engine.evaluation.make_judge [--beginnings] FILE [OUTPUT]`.

FILE holds JSON lines with `story` and `ending` (`happy` or `sad`; others are passed over), gzipped or not. The agreement that is
stored is measured by five-fold cross-validation on the same stories. With `--beginnings` it makes `standing_judge.npz` instead, the
judge of stories that are not finished (`engine.evaluation.beginnings`).
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import UsageError
from engine.evaluation import beginnings
from engine.evaluation.endings import SHIPPED, EndingJudge, cross_validate

DATA = "TinyStories (R. Eldan and Y. Li, 2023, arXiv:2305.07759), endings marked by people story by story"
LICENCE = "CDLA-Sharing-1.0"


def make(path: Path, output: Path, *, of_beginnings: bool = False) -> dict[str, Any]:
    """Learn a judge from a file of marked stories, store it, and return what it says about itself."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    marked = [(row["story"].strip(), row["ending"] == "happy") for row in rows if row.get("ending") in ("happy", "sad")]
    stories, happy = [story for story, _ in marked], [ends_well for _, ends_well in marked]
    if min(sum(happy), len(happy) - sum(happy)) < 50:
        raise UsageError(f"{path} has too few stories marked happy or sad; at least 50 of each are needed.")
    about = {
        "data": DATA,
        "data_sha256": hashlib.sha256(raw).hexdigest(),
        "licence": LICENCE,
        "happy": sum(happy),
        "sad": len(happy) - sum(happy),
        "made": datetime.date.today().isoformat(),
    }
    if of_beginnings:
        about["measured"] = beginnings.measure(stories, happy)
        about["measured_method"] = f"{beginnings.FOLDS}-fold cross-validation on beginnings of the marked stories"
        judge = beginnings.learn(stories, happy)
    else:
        about["agreement"] = round(cross_validate(stories, happy), 4)
        about["agreement_method"] = "five-fold cross-validation on the marked stories"
        judge = EndingJudge.learn(stories, happy)
    replace(judge, about=about).save(output)
    return about


def main(arguments: list[str]) -> int:
    of_beginnings = "--beginnings" in arguments
    files = [Path(argument) for argument in arguments if argument != "--beginnings"]
    if len(files) not in (1, 2):
        sys.stderr.write("usage: python -m engine.evaluation.make_judge [--beginnings] FILE [OUTPUT]\n")
        return 2
    output = files[1] if len(files) == 2 else beginnings.SHIPPED if of_beginnings else SHIPPED
    sys.stdout.write(json.dumps(make(files[0], output, of_beginnings=of_beginnings), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
