"""One sync of a partition, from its mark in the head to its outcome: see ``sync_marks.py`` for the steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import TracebackType

from eventlog.errors import EventLogError
from eventlog.files.filesystem import translate
from eventlog.files.signal_handlers import is_from_handler
from eventlog.storage.partition_files import PartitionFiles
from eventlog.storage.sync_marks import HOLDER, Seen, SyncMarks
from eventlog.storage.write_again import bytes_behind_point, write_behind_point
from eventlog.storage.writer_lives import ended_error, poisoned_error

# The others are waited for about as long as it takes to write everything again, which is what ends the wait.
_LEAST_PATIENCE, _BYTES_PER_SECOND = 0.05, 100e6


class MarkedSync:
    """A context: the mark goes when the sync has ended well, or when what has failed is noted.

    Whatever else ends it, an interrupt or a crash, leaves a mark: nobody knows what the device has said.
    """

    def __init__(self, log: PartitionFiles, marks: SyncMarks, kind: int, life: int) -> None:
        self.life = life
        self.has_opened = False  # a descriptor that is not trusted
        self._log = log
        self._marks = marks
        self._kind = kind
        self._seen: Seen = {}

    def __enter__(self) -> MarkedSync:
        self._mark = mark = self._marks.begin(self._kind, self.life)
        self._in_doubt = mark.was_left
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._marks.end(self._mark)
            return
        if isinstance(error, EventLogError) and not is_from_handler(error) and not self._in_doubt:  # it is noted
            self._marks.end(self._mark)
        else:
            self._marks.leave(self._mark, self.life)
        if self._log.head.has_failed():  # last: who holds that lock may wait for this mark
            self._log.writer.stop(is_held=self._kind == HOLDER)

    def look(self) -> None:
        """See which syncs are under way. After a descriptor was opened that is not trusted, and was not since."""
        self.has_opened = True
        self._seen.update(self._marks.others(self._mark))

    def refuse_unless_alive(self) -> None:
        """Raise StorageError when a sync has failed in this life of the log, or when it is over."""
        head = self._log.head
        if head.is_sound(self.life):
            return
        if head.life != self.life:
            raise ended_error(self._log)
        if head.has_failed():
            raise poisoned_error(self._log)

    def make_sure(self) -> None:
        """Make the descriptors trusted that were used. After all of them were synced; raises OSError, StorageError."""
        left: Seen = {}
        if self._seen:
            patience = _LEAST_PATIENCE + bytes_behind_point(self._log) / _BYTES_PER_SECOND
            left = self._marks.wait(self._seen, patience)
        if left or self._in_doubt:
            self._write_again()
            self._in_doubt = False
            self._marks.forget_dead(left)
        self.refuse_unless_alive()

    def _write_again(self) -> None:
        with contextlib.ExitStack() as files:
            fds = self._log.writer.while_held(lambda: self._written(files), is_held=self._kind == HOLDER)
            for fd in fds:
                self._log.context.fs.sync(fd)

    def _written(self, files: contextlib.ExitStack) -> list[int]:
        with _writing(self._log):
            self.refuse_unless_alive()
            return write_behind_point(self._log, files)


@contextlib.contextmanager
def _writing(log: PartitionFiles) -> Iterator[None]:
    """What fails in the block is no sync: nothing is noted, and the records stay in doubt until the next one."""
    try:
        yield
    except FileNotFoundError:
        raise  # perhaps the topic is gone
    except OSError as error:
        if isinstance(error, EventLogError) or is_from_handler(error):
            raise
        raise translate(error, log.directory) from error
