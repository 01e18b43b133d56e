"""Floor 9: the command line. Parses, calls, prints.

One file a command; `main` is what the installed program ``eventlog`` and ``python -m eventlog`` run.
"""

from __future__ import annotations

import logging
import sys

from eventlog.errors import DISTRIBUTION


def main() -> None:
    """Run the command line; without click, say how to get it."""
    try:
        import click  # noqa: F401  # only to see whether it is there
    except ImportError:
        sys.exit(f"eventlog: the command line needs click: pip install '{DISTRIBUTION}[cli]'")
    from eventlog.cli.commands import commands
    from eventlog.cli.terminal import VisibleLog

    logging.lastResort = VisibleLog(logging.WARNING)
    commands(prog_name="eventlog")
