"""Exit codes, and the one place where a failure becomes a sentence on standard error. Knows no Textual.

0 done, 1 failed, 2 wrong usage, 3 worth trying again (network), 130 interrupted.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

from engine.errors import NetworkError, TinyTalesError, UsageError
from tinytales_tui.output import drop_output, note
from tinytales_tui.paths import reason
from tinytales_tui.text import one_line

DONE, FAILED, WRONG_USAGE, TRY_AGAIN, INTERRUPTED = 0, 1, 2, 3, 130


def report(action: Callable[[], object]) -> int:
    """Do something and return its exit code; whatever goes wrong is one sentence, never a traceback (but with TINYTALES_DEBUG)."""
    try:
        result = action()
        sys.stdout.flush()
        return result if isinstance(result, int) else DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        drop_output()
        return DONE
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # the option parser answers a closed pipe by leaving with 1
            drop_output()
            return DONE
        return leaving.code if isinstance(leaving.code, int) else FAILED
    except TinyTalesError as error:
        return _say(str(error), _code(error))
    except OSError as error:
        drop_output()
        return _say(f"{f'{error.filename}: ' if error.filename else ''}{reason(error)}.", FAILED)
    except Exception as error:
        if hasattr(error, "format_message"):  # a wrong option, in the words of the option parser
            said = one_line(error.format_message(), 300).rstrip(".")
            return _say(f"{said}. {_way_out(error)}", WRONG_USAGE) if said else WRONG_USAGE  # nothing: the help was shown
        if type(error).__name__ == "Abort":  # Ctrl-C, as the option parser passes it on
            return INTERRUPTED
        if os.environ.get("TINYTALES_DEBUG"):
            raise
        fault = one_line(f"{type(error).__name__}: {error}", 300)
        return _say(f"The program met a fault of its own ({fault}). With TINYTALES_DEBUG=1 it shows where.", FAILED)


def _way_out(error: Exception) -> str:
    """Where to look; for words that were typed without an option, what was probably meant."""
    context = getattr(error, "ctx", None)
    words = re.search(r"No such command '(.+)'", error.format_message())  # type: ignore[attr-defined]
    if words and " " in words[1]:
        return f"To write a story about that, say --prompt '{one_line(words[1], 60)}'."
    return f"See {getattr(context, 'command_path', None) or 'tinytales-tui'} --help."


def _code(error: TinyTalesError) -> int:
    return WRONG_USAGE if isinstance(error, UsageError) else TRY_AGAIN if isinstance(error, NetworkError) else FAILED


def _say(sentence: str, code: int) -> int:
    note(f"tinytales-tui: {sentence}")
    return code
