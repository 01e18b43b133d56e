"""Run the command line: ``python -m eventlog``."""

from __future__ import annotations

from eventlog.cli import main

if __name__ == "__main__":
    main()
