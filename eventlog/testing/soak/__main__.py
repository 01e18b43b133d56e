"""The command: ``python -m eventlog.testing.soak --seconds 60 --seed 7``."""

from __future__ import annotations

import sys

from eventlog.testing.soak.command import main

if __name__ == "__main__":
    sys.exit(main())
