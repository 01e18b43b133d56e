"""Write once more what a failed sync may have left in the cache alone, so that the next one brings it to the device."""

from __future__ import annotations

from eventlog.errors import LogFullError
from eventlog.files.filesystem import FileSystem, is_full
from eventlog.files.rewriting import ALIGNMENT, MOST_BYTES, Rewriting
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.storage.segment import Segment


def write_through(fs: FileSystem, fd: int, segment: Segment, begin: int, end: int) -> None:
    """Write the segment's bytes from ``begin`` up to ``end`` once more. The caller holds the partition's lock.

    The file may get longer, by zeros up to the end of a block. Raises OSError, and LogFullError where the device has no
    room for that: one that never overwrites may have none.
    """
    segment.forget()
    rewriting = Rewriting(fs, fd, segment.path)
    try:
        for start in range(begin - begin % ALIGNMENT, end, MOST_BYTES):
            rewriting.write(start, min(start + MOST_BYTES, end))
    except OSError as error:
        pass_on_handlers(error)
        if not is_full(error):
            raise
        raise LogFullError(
            "no space left to write records once more that may not be on the device", path=segment.path,
            hint="free space and try again: until then they are as they were, and not durable",
        ) from error  # fmt: skip
    finally:
        rewriting.close()
    segment.refresh()
