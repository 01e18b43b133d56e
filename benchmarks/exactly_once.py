"""The contests of transactions and of idempotent producers."""

from __future__ import annotations

from benchmarks.contest import CONFLUENT, OURS, Contest, Contestant, Figures, Goal
from benchmarks.workloads import PARTITIONS, PER_CALL, VALUE_BYTES

ALONE = "eventlog, no transaction"
BY_TURNS = "eventlog, by turns"
SYNCS = "eventlog, device syncs"
COUNTED = f"records of {VALUE_BYTES} bytes, {PER_CALL:,} a transaction"
SHARE_BY_TURNS = 0.01  # each pass


def rate_beside(name: str, at_least: float, label: str) -> Goal:
    """What was measured by turns in one process."""
    return Goal(label, (name,), lambda got: got[name]["rate_percent"] / 100, at_least=at_least)


def _further_syncs(got: dict[str, Figures]) -> float:
    return got[SYNCS]["transaction_syncs"] - got[SYNCS]["appends_syncs"]


CONTESTS = (
    Contest(
        "transaction",
        f"Commit {PER_CALL:,} records in {PARTITIONS} partitions",
        (
            Contestant(
                OURS,
                "contestants.ours:transact",
                f"`transaction()`, {PARTITIONS} `send_many` of {PER_CALL // PARTITIONS} in it, one for each partition",
            ),
            Contestant(ALONE, "contestants.ours:send_to_partitions", "the same calls of `send_many`, nothing else"),
            Contestant(
                BY_TURNS,
                "probes.exactly_once:transaction",
                "the same two in one process by turns, 50 passes each; for each record",
                share=SHARE_BY_TURNS,
            ),
            Contestant(
                "LMDB",
                "contestants.lmdb_store:transact",
                "`putmulti(append=True)` into 4 databases, `sync=False`; pairs built beforehand",
                "lmdb",
            ),
            Contestant(
                "RocksDB",
                "contestants.rocks:transact",
                "rocksdict `WriteBatch` into 4 column families in raw mode, write-ahead log on; one process only",
                "rocksdict",
                0.5,
            ),
            Contestant(
                "SQLite",
                "contestants.sqlite:transact",
                "`executemany` into 4 tables, WAL, `synchronous=NORMAL`: syncs before it moves its log into the tables",
                share=0.5,
            ),
            Contestant(
                "SQLite, OFF",
                "contestants.sqlite:transact_unsynced",
                "the same, `synchronous=OFF`: a power cut may destroy the database",
                share=0.5,
            ),
            Contestant(
                "confluent-kafka",
                "contestants.confluent:transact",
                "`produce` into 4 partitions, `commit_transaction`; librdkafka's mock cluster",
                CONFLUENT,
                0.1,
            ),
        ),
        (rate_beside(BY_TURNS, 0.7, "rate in transactions / without"),),
        counted=COUNTED,
    ),
    Contest(
        "transaction_disk",
        f"Commit {PER_CALL:,} records in {PARTITIONS} partitions, on the device",
        (
            Contestant(OURS, "contestants.ours:transact_durable", 'as above, `durability="disk"`'),
            Contestant(
                ALONE,
                "contestants.ours:send_to_partitions_durable",
                "the same calls of `send_many`, each on the device when it returns",
            ),
            Contestant(
                BY_TURNS,
                "probes.exactly_once:transaction_durable",
                "the same two in one process by turns, 50 passes each; for each record",
                share=SHARE_BY_TURNS,
            ),
            Contestant(
                SYNCS,
                "probes.exactly_once:device_syncs",
                "of one transaction, at most; and of one durable append to each of its partitions, at least",
                share=0.05,
            ),
            Contestant("LMDB", "contestants.lmdb_store:transact_durable", "as above, synced", "lmdb"),
            Contestant(
                "RocksDB",
                "contestants.rocks:transact_durable",
                "as above, `sync=True`; one process only",
                "rocksdict",
            ),
            Contestant("SQLite", "contestants.sqlite:transact_durable", "as above, `synchronous=FULL`"),
        ),
        (
            Goal(
                "syncs of a transaction, beyond one append to each partition",
                (SYNCS,),
                _further_syncs,
                at_most=2,
                unit="syncs",
            ),
        ),
        counted=COUNTED,
    ),
    Contest(
        "idempotence",
        "Send one by one, idempotent and not",
        (
            Contestant(
                OURS,
                "probes.exactly_once:idempotence",
                "`send`, then `flush`: with `enable_idempotence` and without, in one process by turns, 50 passes each",
            ),
        ),
        (rate_beside(OURS, 0.97, "rate with idempotence / without"),),
        unit="",
    ),
)
