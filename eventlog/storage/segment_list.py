"""A partition's segments, by base offset, as its directory has them."""

from __future__ import annotations

import os
from collections.abc import Callable

from eventlog.files.filesystem import FileSystem
from eventlog.files.signal_handlers import pass_on_handlers
from eventlog.format.batch_home import home_of
from eventlog.format.filenames import LOG, segment_base, segment_name
from eventlog.format.layouts import MAX_RELATIVE_OFFSET
from eventlog.storage.index_rebuild import rebuild_indexes, sealed_indexes_fit
from eventlog.storage.segment import Segment


class SegmentList:
    """What was seen in the directory last, and the segments that were asked for. Other processes roll at any time."""

    def __init__(self, fs: FileSystem, directory: str, topic: str, partition: int, on_map: Callable[[], None]) -> None:
        self._fs = fs
        self._directory = directory
        self._topic = topic
        self._partition = partition
        self.home = home_of(topic, partition)  # what the CRCs here have mixed in
        self._on_map = on_map
        self._made: dict[int, Segment] = {}
        self._bases: list[int] = []

    def __getitem__(self, base_offset: int) -> Segment:
        """Return the segment of this base offset."""
        segment = self._made.get(base_offset)
        if segment is None:
            segment = Segment(
                self._fs, self._directory, base_offset, self._topic, self._partition, self._on_map, home=self.home
            )
            self._made[base_offset] = segment
        return segment

    def bases(self, at_least: int | None = None) -> list[int]:
        """Return the base offsets in order; looks at the directory again unless ``at_least`` is known already."""
        if at_least is None or not self._bases or self._bases[-1] < at_least:
            self.refresh()
        return self._bases

    def refresh(self) -> None:
        """Look at the directory again."""
        try:
            names = self._fs.listdir(self._directory)
        except (FileNotFoundError, NotADirectoryError) as error:
            pass_on_handlers(error)
            names = []
        self._bases = sorted(base for base in map(segment_base, names) if base is not None)

    def remove(self, base_offset: int) -> None:
        """Note that a segment's files were removed."""
        self._bases = [base for base in self._bases if base != base_offset]
        self._made.pop(base_offset, None)

    def forget(self) -> None:
        """Drop all mappings; batches that callers hold keep theirs."""
        for segment in list(self._made.values()):
            segment.forget()

    def path(self, base_offset: int) -> str:
        """Return the path of a segment's log file."""
        return os.path.join(self._directory, segment_name(base_offset, LOG))

    def ensure_indexes(self, segment: Segment, interval: int, *, writable: bool) -> None:
        """Rebuild a sealed segment's indexes, once, when they are missing, short or damaged.

        In memory, where nothing can be written: a time index that is short hides records from a search.
        """
        if segment.indexes_checked:
            return
        last = segment.base_offset + MAX_RELATIVE_OFFSET  # where the next segment is missing
        end_offset = min((base for base in self.bases() if base > segment.base_offset), default=last)
        if not sealed_indexes_fit(segment, interval, end_offset):
            try:
                rebuild_indexes(segment, interval, end_offset, in_memory=not writable)
            except OSError as error:  # a full disk is no reason to refuse a read
                pass_on_handlers(error)
                rebuild_indexes(segment, interval, end_offset, in_memory=True)
        segment.indexes_checked = True
