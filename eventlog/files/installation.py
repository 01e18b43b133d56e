"""Tell when another distribution has been installed over this package.

The distribution is ``eventlog-embedded`` and the package ``eventlog``. On the package index the name ``eventlog``
belongs to another project, whose package has the same name: installing both gives a mixture of their files.
"""

from __future__ import annotations

import os

from eventlog.errors import DISTRIBUTION

_OTHER = "eventlog-"  # the name of ours has an underscore there


def refuse_mixture(package: str) -> None:
    """Raise ImportError if the other distribution lies beside the directory of this package."""
    beside = os.path.dirname(package)
    others = [name for name in os.listdir(beside) if name.startswith(_OTHER) and name.endswith(".dist-info")]
    if others:
        raise ImportError(
            f"two distributions have written into {package}: {DISTRIBUTION}, and eventlog, which is another project"
            f" ({others[0]}). Run: pip uninstall -y eventlog {DISTRIBUTION} && pip install {DISTRIBUTION}"
        )
