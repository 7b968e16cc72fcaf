"""`python -m tinytales_tui` and the console command: hands over to the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line with this process's arguments and leave with its exit code."""
    from tinytales_tui.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
