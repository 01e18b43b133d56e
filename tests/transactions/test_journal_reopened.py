"""The journal is a log like others, and opens again after any end of its process."""

from __future__ import annotations

from pathlib import Path

from tests.transactions.ledger import JOURNAL, Ledger, check_clean


def test_a_log_opens_after_a_kill_behind_a_durable_commit(tmp_path: Path) -> None:
    """Whoever opens the log after a kill gets it, by its journal or by any topic first, with all that was committed."""
    ledger = Ledger(tmp_path, "disk")
    ledger.commit()
    ledger.commit()
    with ledger.reboot() as log:
        assert ledger.check(log) == [1, 2]
        check_clean(log)
    with ledger.reboot() as log:
        assert log.topic(JOURNAL).partitions[0].log_end_offset == 2
        assert ledger.check(log) == [1, 2]
