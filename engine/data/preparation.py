"""The work of preparing data: reads, divides, tokenizes and writes, and goes on after any interruption.

The sources are streamed once for a vocabulary or guesses that have to be learnt, and once to be written. Each story's split follows
from the seed and its text alone. Every few seconds shards and ledger are committed together; what came after the last commit is done
again, so an interrupted preparation ends in the same bytes as an uninterrupted one. Whether it may begin at all is asked in
`engine.data.prepare`. Knows no torch.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from engine.data.derive import Guesser
from engine.data.held_out import is_held_out
from engine.data.ledger import Ledger
from engine.data.progress import Meter, Report
from engine.data.records import Record
from engine.data.shard_writer import ShardWriter, write_manifest
from engine.data.shards import ENDINGS, GUESSED, MARKED, SPLITS, TOKENIZER, SplitName
from engine.data.sources import Source
from engine.errors import UsageError
from engine.files import write_text
from engine.prompts import story_prompt
from engine.tokenizer import BytePairTokenizer, Tokenizer, encode_stories

if TYPE_CHECKING:
    from engine.data.prepare import PrepareSettings

BATCH = 1000
"""Stories that are tokenized at once."""
COMMIT_SECONDS = 3.0
"""Time between two commits; at most this much work is done again after a kill."""
LEARN_BYTES = 200_000_000
"""A vocabulary is learnt from the first stories up to this much text (more changes it very little)."""


@dataclass
class _Tally:
    """What became of one source's records."""

    stories: int = 0
    duplicates: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    synthetic: bool = False


class Preparation:
    """One going at the work; everything that must outlive it is in the ledger and the shards."""

    def __init__(
        self,
        settings: PrepareSettings,
        folder: Path,
        sources: list[Source],
        tokenizer: Tokenizer | None,
        ledger: Ledger,
        say: Callable[[str], None],
        report: Report | None,
    ) -> None:
        assert ledger.state is not None
        self._settings, self._folder, self._sources, self._ledger = settings, folder, sources, ledger
        self._say, self._report = say, report
        self._state = ledger.state
        self._tallies = [_Tally(**data) for data in self._state["sources"] or [{} for _ in sources]]
        self._given = tokenizer

    def run(self) -> None:
        """Do what is left to do; afterwards the folder is finished."""
        try:
            self._tokenizer = self._given or self._learnt_tokenizer()
            guesser = self._learnt_guesser() if self._settings.guess else None
            writers = self._state["writers"]
            self._writers = {
                name: ShardWriter(self._folder, name, self._tokenizer, self._settings.shard_tokens, writers.get(name))
                for name in SPLITS
            }
            self._write_all(guesser)
            self._divide_few()
            self._finish()
        except BaseException:
            self._ledger.close()
            raise

    def _training_stories(self, stage: str) -> Iterator[Record]:
        meter = Meter(stage, self._sources, self._report)
        records = itertools.chain.from_iterable(source.records() for source in self._sources)
        return (record for record in meter.watch(records) if self._split_of(record.story) == "train")

    def _learnt_tokenizer(self) -> Tokenizer:
        path = self._folder / TOKENIZER
        if not path.exists():
            self._say(f"Learning a vocabulary of {self._settings.vocab_size:,} tokens.")
            left = LEARN_BYTES

            def texts() -> Iterator[str]:
                nonlocal left
                for record in self._training_stories("learning a vocabulary"):
                    yield record.story
                    left -= len(record.story)
                    if left <= 0:
                        return

            learnt = BytePairTokenizer.train(texts(), self._settings.vocab_size)
            if left == LEARN_BYTES:
                self._no_story()
            write_text(path, learnt.to_json())
        return BytePairTokenizer.load(path)

    def _learnt_guesser(self) -> Guesser | None:
        guesser = Guesser.learn(self._training_stories("learning how stories end"), self._settings.seed)
        if guesser is None:
            self._say("Nothing is guessed: that takes at least 50 stories marked happy and 50 marked sad to learn from.")
        return guesser

    def _split_of(self, story: str) -> SplitName:
        return "valid" if is_held_out(story, self._settings.seed, self._settings.validation_share) else "train"

    def _write_all(self, guesser: Guesser | None) -> None:
        """Tokenize in one thread (which itself uses all cores) while the next stories are read and the last ones are written."""
        meter = Meter("tokenizing", self._sources, self._report)
        waiting: deque[tuple[list[tuple[Record, int]], Future[list[list[int]]]]] = deque()
        committed = time.monotonic()

        def write(most: int) -> None:
            """Write until at most so many batches wait."""
            while len(waiting) > most:
                self._write(*waiting.popleft())

        with ThreadPoolExecutor(1) as pool:
            for at, read, records in self._batches(meter):
                stories = _marked(records, guesser)
                waiting.append((stories, pool.submit(self._encoded, stories)))
                write(2)
                if time.monotonic() - committed >= COMMIT_SECONDS:
                    write(0)
                    self._commit(at, read)
                    committed = time.monotonic()
            write(0)
        self._commit(len(self._sources), 0)
        meter.tell()

    def _batches(self, meter: Meter) -> Iterator[tuple[int, int, list[Record]]]:
        """New stories with the position behind them: number of the source, records of it that are read.

        While one is being looked at nothing is read ahead, so ledger and tallies tell of exactly that position.
        """
        first, skip = self._state["at"], self._state["read"]
        for at, source in enumerate(self._sources[first:], first):
            tally, read, batch = self._tallies[at], 0, []
            for record in source.records():
                read += 1
                meter.count(record)
                if read <= skip:
                    if read == skip:
                        meter.begin_here()
                    continue
                if self._settings.unique and not self._ledger.is_new(record.story):
                    tally.duplicates += 1
                    continue
                tally.stories += 1
                batch.append(record)
                if len(batch) >= BATCH:
                    yield at, read, batch
                    batch = []
            skip = 0
            tally.dropped, tally.synthetic = dict(source.dropped), source.synthetic
            yield at + 1, 0, batch

    def _encoded(self, stories: list[tuple[Record, int]]) -> list[list[int]]:
        """Token ids of all stories, then of all prompts (none: empty)."""
        prompts = [story_prompt(r.topic, r.ending) if r.topic and r.ending else "" for r, _ in stories]
        return encode_stories(self._tokenizer, [*(record.story for record, _ in stories), *prompts])

    def _write(self, stories: list[tuple[Record, int]], encoded: Future[list[list[int]]]) -> None:
        ids = encoded.result()
        half = len(stories)
        for (record, marks), story, prompt in zip(stories, ids[:half], ids[half:], strict=True):
            writer = self._writers[self._split_of(record.story)]
            writer.add(prompt, story, len(record.story.encode()), record.ending, marks)

    def _commit(self, at: int, read: int) -> None:
        writers = {name: writer.commit() for name, writer in self._writers.items()}
        tallies = [asdict(tally) for tally in self._tallies]
        self._state = self._state | {"at": at, "read": read, "sources": tallies, "writers": writers}
        self._ledger.commit(self._state)

    def _divide_few(self) -> None:
        """Where chance gave one split all of a few stories, the last one goes to the other; there is always one to train on."""
        train, valid = self._writers["train"], self._writers["valid"]
        if not train.stories and not valid.stories:
            self._no_story()
        if valid.stories and not train.stories:
            giver, taker = valid, train
        elif self._settings.validation_share and not valid.stories and train.stories > 1:
            giver, taker = train, valid
        else:
            return
        prompt, story, row = giver.take_last()
        taker.add(prompt, story, int(row["bytes"]), ENDINGS[row["ending"]], int(row["marks"]))  # type: ignore[arg-type]
        self._commit(len(self._sources), 0)

    def _finish(self) -> None:
        sources = [
            {
                "name": source.name,
                "kind": source.kind,
                "bytes": source.bytes,
                "sha256": fingerprint,
                "stories": tally.stories,
                "dropped": tally.dropped | ({"duplicate": tally.duplicates} if tally.duplicates else {}),
            }
            for source, tally, fingerprint in zip(self._sources, self._tallies, self._state["head"]["contents"], strict=True)
        ]
        facts = {
            "sources": sources,
            "synthetic": any(tally.synthetic for tally in self._tallies),
            "settings": self._state["head"]["settings"],
        }
        splits = {name: writer.finish() for name, writer in self._writers.items()}
        write_manifest(self._folder, self._tokenizer, splits, facts)
        self._ledger.delete()

    def _no_story(self) -> NoReturn:
        """Nothing was found: leave no trace of it, so that the next try begins afresh."""
        self._ledger.delete()
        for path in self._folder.glob("*.part"):
            path.unlink()
        left_out = sum((source.dropped for source in self._sources), Counter[str]())
        why = f" ({', '.join(f'{count:,} {reason}' for reason, count in left_out.items())})" if left_out else ""
        raise UsageError(f"{' and '.join(source.name for source in self._sources[:3])} hold no story{why}.")


def _marked(records: list[Record], guesser: Guesser | None) -> list[tuple[Record, int]]:
    """The records, with guesses where there is a guesser, and their marks for the index."""
    labelled = guesser.label(records) if guesser else records
    return [
        (new, (MARKED if old.topic and old.ending else GUESSED) if new.topic and new.ending else 0)
        for old, new in zip(records, labelled, strict=True)
    ]
