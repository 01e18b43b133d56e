"""One segment: a file of record batches, named by its base offset, with its two sparse indexes."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from eventlog.files.filesystem import FileSystem
from eventlog.format import layouts as L
from eventlog.format.batch_home import NOWHERE
from eventlog.format.columns import BatchDamage
from eventlog.format.filenames import INDEX, LOG, TIME_INDEX, segment_name
from eventlog.format.record_batch import RecordBatch
from eventlog.storage.offset_index import OffsetIndex
from eventlog.storage.time_index import TimeIndex

_RESERVE = 1 << 20
walk_header = struct.Struct(">qi4xB6xi").unpack_from  # base offset, length, magic, last offset delta


_NOTHING = (memoryview(b""), 0)


class Place(NamedTuple):
    """A batch's place: its position, and the offset that it begins with."""

    position: int
    base_offset: int


class Segment:
    """The read side of a segment. Holds no descriptor: a mapping, which grows with the file.

    After a crash the file may end in bytes that were never published; whoever reads stays below the published end,
    and whoever writes overwrites them.

    On overlayfs, as in a container, a file of a lower layer is copied up when it is first opened for writing: a mapping
    from before is of the old file, which never grows, under the same path and number. So the room behind a mapping is
    believed only once the file was seen to grow: who writes has opened it by then. And before damage is reported, the
    file is mapped again (`map_again`).
    """

    def __init__(
        self,
        fs: FileSystem,
        directory: str,
        base_offset: int,
        topic: str,
        partition: int,
        on_map: Callable[[], None] = lambda: None,
        *,
        home: int = NOWHERE,
    ) -> None:
        self.base_offset = base_offset
        self.path = os.path.join(directory, segment_name(base_offset, LOG))
        self.offset_index = OffsetIndex(fs, os.path.join(directory, segment_name(base_offset, INDEX)))
        self.time_index = TimeIndex(fs, os.path.join(directory, segment_name(base_offset, TIME_INDEX)))
        self.topic = topic
        self.partition = partition
        self.home = home
        self._fs = fs
        self._on_map = on_map
        self._identity = (0, 0)  # of the file that is mapped
        self._reach = 0  # bytes of the mapping that are the file's, also when it grows
        self._first_size: int | None = None  # of this file
        self.view = _NOTHING  # the mapping, and the bytes of it that the file is known to have: past them lies SIGBUS
        self.indexes_checked = False

    def refresh(self) -> int:
        """Look at the file again and return its size; map it anew when it has outgrown the mapping."""
        found, mapped, reach = self._fs.status_of(self.path), self._identity, self._reach  # these before the view
        size, data = found.st_size, self.view[0]
        if (found.st_dev, found.st_ino) == mapped and size <= reach and size <= len(data):
            self.view = data, size  # as most often: to open the file, only to see this, takes several times as long
            return size
        return self._look_at_file()

    def _look_at_file(self) -> int:
        file = self._fs.opened(self.path, os.O_RDONLY)
        with file as fd:
            found, mapped, reach = file.status, self._identity, self._reach  # these first: they are noted last
            size, identity, data = found.st_size, (found.st_dev, found.st_ino), self.view[0]
            if self._first_size is None or identity != mapped:
                self._first_size = size
            if size > min(len(data), reach) or (size and identity != mapped):  # past an old file's end lies SIGBUS
                room = max(_RESERVE, 1 << (size.bit_length() + 1))
                data = memoryview(self._fs.map_readonly(fd, room))  # type: ignore[arg-type]  # an array is a buffer
                reach = room if size > self._first_size else size
                self._on_map()
            self.view = data, size  # in one step: other threads read here
            self._identity, self._reach = identity, reach
        return size

    def map_again(self) -> None:
        """Map the file that is at the path now, whatever is mapped; batches that callers hold keep theirs."""
        self.view = _NOTHING
        self.refresh()

    @property
    def data(self) -> memoryview:
        """The mapping, of which only the first ``size`` bytes may be touched."""
        return self.view[0]

    @property
    def size(self) -> int:
        """Bytes that the file is known to have."""
        return self.view[1]

    def batch_at(self, position: int, *, check: bool = True) -> RecordBatch:
        """Return the batch at ``position``. Raises BatchDamage when none lies there whole."""
        try:
            return RecordBatch(*self._from(position), self.topic, self.partition, self.home, check)
        except BatchDamage:
            if self.refresh() == 0:
                raise
        return RecordBatch(*self._from(position), self.topic, self.partition, self.home, check)

    def begins_with_version_2(self) -> bool:
        """Tell whether no batch here is of version 1: what is said of that version's other files does not hold then."""
        if self.size < L.HEADER_BYTES:
            self.refresh()
        data, size = self.view
        return size >= L.HEADER_BYTES and data[L.VERSION_POSITION] == L.VERSION_2

    def _from(self, position: int) -> tuple[memoryview, int, int]:
        data, size = self.view
        return data, position, size

    def place_of(self, offset: int, index_entries: int | None = None) -> Place:
        """Find the batch that holds ``offset``, from the nearest index entry that the segment confirms.

        Raises BatchDamage, with its position and the offset that belongs there, when the way there is damaged.
        """
        entries = self.offset_index.entries_before(offset - self.base_offset, index_entries)
        for skipped, (start, position) in enumerate(entries):
            if self._confirms(position, self.base_offset + start, look_again=not skipped):
                return self.walk(offset, position, self.base_offset + start)
        return self.walk(offset, 0, self.base_offset)

    def _confirms(self, position: int, base_offset: int, *, look_again: bool) -> bool:
        """Tell whether a batch with this base offset seems to begin there; it is checked when it is read."""
        data, size = self.view
        if position + L.HEADER_BYTES > size:
            if look_again or not size:  # not for each of many entries behind the end of a file that was cut
                self.refresh()
            data, size = self.view  # in one step: another thread may give the mapping back meanwhile
            if position + L.HEADER_BYTES > size:
                return False
        base, length, magic, _ = walk_header(data, position)
        confirmed: bool = base == base_offset and magic == L.MAGIC and position + length + L.LENGTH_START <= size
        return confirmed

    def walk(self, offset: int, position: int, expected: int) -> Place:
        """Step over batch headers, from the batch with the offset ``expected`` to the one that holds ``offset``.

        Checks no CRC: that each batch goes on where the one before it ended tells that the way is right. Raises
        BatchDamage as `place_of` does.
        """
        before = Place(position, expected)
        while True:
            data, size = self.view
            if position + L.HEADER_BYTES > size:
                if position + L.HEADER_BYTES > self.refresh():
                    raise self._damage_on_the_way("the file ends before the offset", before, position, expected)
                continue
            base, length, magic, last_delta = walk_header(data, position)
            if magic != L.MAGIC or length < L.HEADER_BYTES - L.LENGTH_START or last_delta < 0:
                raise self._damage_on_the_way("no batch begins where one should", before, position, expected)
            if base != expected:
                reason = f"offset {base} where {expected} belongs"
                raise self._damage_on_the_way(reason, before, position, expected)
            if base + last_delta >= offset:
                return Place(position, base)
            before = Place(position, expected)
            position += length + L.LENGTH_START
            expected = base + last_delta + 1

    def _damage_on_the_way(self, reason: str, before: Place, position: int, expected: int) -> BatchDamage:
        """Place the blame: a batch whose length is wrong misleads to a position where nothing is amiss."""
        try:
            self.batch_at(before.position)
        except BatchDamage as damage:
            return BatchDamage(damage.reason, *before)
        return BatchDamage(reason, position, expected)

    def batches(self, position: int, expected_offset: int) -> Iterator[RecordBatch]:
        """Yield the batches from ``position`` on; raises BatchDamage at the first that is not whole."""
        if not self.size:
            self.refresh()
        data, size = self.view  # one for the whole walk: another thread may give the mapping back meanwhile
        while position + L.HEADER_BYTES <= size:
            batch = RecordBatch(data, position, size, self.topic, self.partition, self.home)
            if batch.header_offset != expected_offset:
                raise BatchDamage(f"offset {batch.header_offset} where {expected_offset} belongs", position)
            yield batch
            position += batch.size
            expected_offset = batch.last_offset + 1

    def forget(self) -> None:
        """Drop the mappings; batches that callers hold keep theirs."""
        self.view = _NOTHING
        self.indexes_checked &= self.offset_index.is_kept  # what else was rebuilt in memory goes with the mappings
        self.offset_index.forget()
        self.time_index.forget()
