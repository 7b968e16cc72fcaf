"""`python -m tinytales_tui` and the console command: hands over to the command line, or straight to the app."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line with this process's arguments and leave with its exit code."""
    if len(sys.argv) == 1:
        # Nothing was asked for: the app opens, without the 60 ms that the option parser takes to import.
        from tinytales_tui.options import AppOptions
        from tinytales_tui.report import report
        from tinytales_tui.start import open_app
        from tinytales_tui.terminal import detect

        if detect().problem is None:
            sys.exit(report(lambda: open_app(AppOptions())))
    from tinytales_tui.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
