"""Reading aloud: a person's own command gets the text on its standard input, and is stopped with all that it has started.

The command is split into words as a shell would, but no shell runs. Knows no Textual.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Callable

from engine.errors import UsageError
from tinytales_tui import paths
from tinytales_tui.text import one_line

_PATIENCE_S = 0.5
"""How long a command may take to end when it is asked to."""


def words_of(command: str) -> list[str]:
    """The program and its arguments (UsageError for what cannot be split)."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"The speech command {one_line(command, 80)} cannot be understood: {str(error).lower()}.") from error
    if not words or "\0" in command:
        raise UsageError("There is no program in the speech command.")
    return words


class Speaker:
    """Speaks one text at a time."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = 0

    @property
    def speaking(self) -> bool:
        return self._process is not None

    async def speak(self, command: str, text: str, begun: Callable[[], None] = lambda: None) -> bool:
        """Speak a text to its end; False where it was stopped. UsageError, in one sentence, where the command fails.

        `begun` is called when the program runs.
        """
        program, *arguments = words_of(command)
        self._turn += 1
        mine_is = self._turn
        await self.stop()
        try:
            process = await asyncio.create_subprocess_exec(
                program, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE, start_new_session=sys.platform != "win32",
            )  # fmt: skip
        except (OSError, ValueError) as error:
            missing = isinstance(error, FileNotFoundError)
            why = (
                "is not there"
                if missing
                else f"cannot be started: {paths.reason(error) if isinstance(error, OSError) else error}"
            )
            raise UsageError(f"The program {one_line(program, 80)}, which is to read aloud, {why}.") from error
        if mine_is != self._turn:  # another voice was asked for while this one was being started
            _signal(process, kill=True)
            await process.wait()
            return False
        self._process = process
        begun()
        try:
            _, complaint = await process.communicate(text.encode("utf-8", "replace"))
        except BaseException:
            _signal(process, kill=True)
            raise
        finally:
            mine = self._process is process
            if mine:
                self._process = None
        if mine and process.returncode:
            said = one_line(complaint.decode("utf-8", "replace").strip().rpartition("\n")[2], 200).rstrip(".")
            raise UsageError(
                f"{one_line(program, 80)} could not read aloud: {said or f'it ended with code {process.returncode}'}."
            )
        return mine

    async def stop(self) -> None:
        """Silence, at once."""
        process, self._process = self._process, None
        if process is None:
            return
        _signal(process, kill=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await process.wait()
        _signal(process, kill=True)  # the group too: what the command has started may not have heard


def _signal(process: asyncio.subprocess.Process, kill: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:  # its number is that of its group, and names that as long as anything of it lives
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
