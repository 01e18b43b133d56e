"""What cannot be pickled says what to do instead."""

from __future__ import annotations

from typing import NoReturn


class OfOneProcess:
    """Something that belongs to the process it was made in: files are mapped, locks held, threads run."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: who pickles this wants it in another process."""
        raise TypeError(
            f"{type(self).__name__} cannot be pickled, as it belongs to this process: open one in the child."
            " A log can be pickled; it is opened again there"
        )
