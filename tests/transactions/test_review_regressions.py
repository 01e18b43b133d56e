"""What a review of transactions has found: each was wrong once."""

from __future__ import annotations

from pathlib import Path

import eventlog
from eventlog.format.filenames import LOG
from eventlog.testing.crash_filesystem import CrashFileSystem
from eventlog.testing.power_cut import lay_out
from eventlog.testing.simulated_disk import SimulatedFile
from eventlog.topics.internal import TRANSACTIONS_TOPIC
from tests.transactions.helpers import values


def test_a_lost_outcome_takes_no_sealed_segment_along(tmp_path: Path) -> None:
    """A roll brings the journal to the device before a segment becomes one that no recovery looks at again.

    A power cut that keeps all of a partition, and of the journal only what was synced, takes none of the records.
    """
    fs = CrashFileSystem(tmp_path / "log")
    log = eventlog.open(tmp_path / "log", filesystem=fs)
    partition = log.create_topic("a", segment_bytes=1024).partitions[0]
    partition.append([b"first"])
    partition.flush()
    with log.producer(transactional_id="id") as producer, producer.transaction():
        producer.send("a", b"of a transaction")
    plain = [b"%03d" % number + b"." * 300 for number in range(12)]
    for value in plain:
        partition.append([value])

    def content(file: SimulatedFile) -> bytes:
        return file.durable if TRANSACTIONS_TOPIC in file.path and file.path.endswith(LOG) else file.content()

    lay_out(fs.disk.top, str(tmp_path / "cut"), lambda directory: directory.names, content)
    with eventlog.open(tmp_path / "cut") as found:
        assert values(found) == [b"first", b"of a transaction", *plain]
