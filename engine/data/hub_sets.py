"""Hub data sets as sources of stories, streamed through the library `datasets` (an extra). No code from the Hub is ever run.

The revision is asked for first and pinned, so that reading again reads the same. Knows no torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from engine.data.records import Record
from engine.data.source import ReadingOptions, Source, extra
from engine.errors import NetworkError, TinyTalesError, UsageError

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?::[\w.-]+){0,2}")
"""`owner/name`, `owner/name:split` or `owner/name:config:split`."""


class HubSource(Source):
    """One split of a data set on the Hub."""

    def __init__(self, text: str, options: ReadingOptions) -> None:
        super().__init__(text, "hub", options)
        self._id, *words = text.split(":")
        self._config = words[0] if len(words) == 2 else None
        self._split = words[-1] if words else "train"
        self._revision: str | None = None
        self._done = 0
        extra("datasets", "Hub data sets need")

    def fingerprint(self) -> str:
        return f"{self._id}@{self._pinned()}:{self._config or ''}:{self._split}"

    @property
    def done(self) -> int:
        return self._done

    def _pinned(self) -> str:
        """The data set's present revision; asked for once."""
        if self._revision is None:
            from huggingface_hub import HfApi
            from huggingface_hub.utils import logging

            logging.set_verbosity_error()  # its remarks on cards and tokens are not for a person who wants stories
            try:
                self._revision = str(HfApi().dataset_info(self._id, timeout=30).sha)
            except Exception as error:  # the HTTP library's own errors are of no common kind across its versions
                raise self._said(error) from error
        return self._revision

    def _read(self) -> Iterator[Record | None]:
        revision = self._pinned()
        datasets = extra("datasets", "Hub data sets need")
        datasets.disable_progress_bars()
        datasets.logging.set_verbosity_error()
        self._done = 0
        try:
            rows = datasets.load_dataset(self._id, self._config, split=self._split, streaming=True, revision=revision)
            splits = getattr(rows.info, "splits", None) or {}
            self.size = getattr(splits.get(self._split), "num_examples", 0) or 0
            for number, row in enumerate(rows, 1):
                self._done = number
                yield from self._row(row, f"row {number}")
        except (TinyTalesError, GeneratorExit):
            raise
        except Exception as error:
            raise self._said(error) from error

    def _said(self, error: Exception) -> TinyTalesError:
        """What went wrong, for a person: a name that the Hub does not know is wrong usage, all else may go through later."""
        from huggingface_hub import errors

        absent = f"There is no file or folder {self.name}, and the Hub has no data set of that name that you may read"
        if isinstance(error, errors.GatedRepoError):
            return UsageError(f"The data set {self._id} asks for consent first: give it on its Hub page and set HF_TOKEN.")
        if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
            return UsageError(f"{absent}.")
        if type(error).__name__ == "DatasetNotFoundError":
            return UsageError(f"{absent}.")
        if isinstance(error, ValueError | RuntimeError) and not isinstance(error, OSError) and (words := _first_line(error)):
            return UsageError(f"The data set {self.name} cannot be read: {words}")
        return NetworkError(
            f"There is no file or folder {self.name}, and the Hub could not be reached; try again with a network."
        )


def _first_line(error: Any) -> str:
    """The first line of a message of `datasets`, which names the splits or configs that there are; empty for what is no message."""
    lines = str(error).strip().splitlines()
    return f"{lines[0][:300].rstrip('.')}." if lines else ""
