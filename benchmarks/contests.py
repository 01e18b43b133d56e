"""Who meets whom in which work, and the figure to reach."""

from __future__ import annotations

from benchmarks import exactly_once, keyed
from benchmarks.contest import CONFLUENT, OURS, Contest, Contestant, Goal, figure, ratio

SLOW = 0.02  # share of the work for a contestant a hundred times slower than the rest
SLOWEST = 0.005
MANY_SECONDS = 900.0

CONTESTS = (
    Contest(
        "send",
        "Send one by one, no key, then flush",
        (
            Contestant(OURS, "contestants.ours:send", "`send`, then `flush`"),
            Contestant(
                "confluent-kafka",
                "contestants.confluent:produce",
                "`produce`, then `flush`; librdkafka's mock cluster",
                CONFLUENT,
            ),
        ),
        (ratio("confluent-kafka", 2.0),),
    ),
    Contest(
        "send_many",
        "Send 1,000 a call",
        (
            Contestant(OURS, "contestants.ours:send_many", "`send_many`, 1,000 a call, then `flush`"),
            Contestant("eventlog append", "contestants.ours:append_many", "`partition.append`, 1,000 a call"),
            Contestant(
                "bare write",
                "contestants.raw:write_many",
                "`pwrite` of as many bytes, 1,000 values a call, at the end of a growing file",
            ),
            Contestant(
                "LMDB",
                "contestants.lmdb_store:put_many",
                "`putmulti(append=True)`, 1,000 a transaction, `sync=False`; pairs built beforehand",
                "lmdb",
            ),
            Contestant(
                "LMDB, building",
                "contestants.lmdb_store:put_many_building",
                "the same, the building of the key/value pairs counted",
                "lmdb",
            ),
            Contestant(
                "LMDB, writemap",
                "contestants.lmdb_store:put_many_writemap",
                "as LMDB, with `writemap=True, map_async=True`",
                "lmdb",
            ),
            Contestant(
                "confluent-kafka",
                "contestants.confluent:produce_batch",
                "`produce_batch`, 1,000 a call, then `flush`; dictionaries built beforehand; mock cluster",
                CONFLUENT,
            ),
            Contestant(
                "RocksDB",
                "contestants.rocks:put_many",
                "rocksdict `WriteBatch` of 1,000 in raw mode, write-ahead log on",
                "rocksdict",
            ),
            Contestant(
                "SQLite",
                "contestants.sqlite:put_many",
                "`executemany`, 1,000 a transaction, WAL, `synchronous=OFF`",
            ),
            Contestant(
                "persist-queue",
                "contestants.persist:put_many",
                "SQLite queue, `auto_commit=False`: 1,000 `put`, then `task_done`",
                "persistqueue",
                SLOWEST,
            ),
        ),
        (ratio("LMDB", 4.0),),
    ),
    Contest(
        "read",
        "Read the values back",
        (
            Contestant(OURS, "contestants.ours:read_values", "`poll_batches` and `batch.values()`"),
            Contestant(
                "LMDB",
                "contestants.lmdb_store:read",
                "cursor `iternext(keys=False, values=True)`, in lists of 1,000",
                "lmdb",
            ),
            Contestant("RocksDB", "contestants.rocks:read", "rocksdict `values()`, in lists of 1,000", "rocksdict"),
            Contestant("SQLite", "contestants.sqlite:read", "`SELECT` in key order, `fetchmany(1000)`"),
            Contestant(
                "persist-queue",
                "contestants.persist:read",
                "SQLite queue, `auto_commit=False`: 1,000 `get`, then `task_done`",
                "persistqueue",
                SLOWEST,
            ),
        ),
        (ratio("LMDB", 1.0),),
    ),
    Contest(
        "poll",
        "Poll records one by one",
        (
            Contestant(OURS, "contestants.ours:read_records", "`poll(max_records=1000)`, `record.value`"),
            Contestant(
                "confluent-kafka",
                "contestants.confluent:consume",
                "`consume(1000)`, `message.value()`; passes over 20,000 records of the mock cluster",
                CONFLUENT,
            ),
            Contestant(
                "confluent-kafka, prefetched",
                "contestants.confluent:consume_prefetched",
                "the same, each pass begun with all its records in librdkafka's queue",
                CONFLUENT,
                0.2,
            ),
        ),
        (ratio("confluent-kafka", 8.0),),
    ),
    Contest(
        "scan",
        "Scan the columns, CRC verified",
        (
            Contestant(OURS, "contestants.ours:scan", "`poll_batches`, `value_offsets`"),
            Contestant(
                "crc32c",
                "contestants.raw:checksum",
                "`crc32c.crc32c` alone over as many bytes as the log has, in memory",
            ),
            Contestant(
                "crc32c, mapped",
                "contestants.raw:checksum_of_file",
                "the same over a freshly mapped file",
            ),
        ),
        (ratio("crc32c", 0.5),),
        unit="bytes",
    ),
    Contest(
        "append",
        "Append one record, visible to other processes",
        (
            Contestant(OURS, "contestants.ours:append_one", "`partition.append([value])`"),
            Contestant(
                "SQLite",
                "contestants.sqlite:insert_one",
                "prepared `INSERT`, autocommit, WAL, `synchronous=OFF`",
            ),
            Contestant(
                "LMDB",
                "contestants.lmdb_store:insert_one",
                "one `put(append=True)` a transaction, `sync=False`",
                "lmdb",
            ),
            Contestant(
                "RocksDB",
                "contestants.rocks:insert_one",
                "rocksdict `put`, write-ahead log on; one process only",
                "rocksdict",
            ),
            Contestant(
                "persist-queue",
                "contestants.persist:insert_one",
                "SQLite queue, `auto_commit=True`: one `put`",
                "persistqueue",
                SLOW,
            ),
            Contestant(
                "persist-queue, file",
                "contestants.persist:insert_into_file",
                "file queue: one `put`",
                "persistqueue",
                SLOW,
            ),
        ),
        (ratio("SQLite", 2.5),),
    ),
    Contest(
        "disk",
        "Append one record, on the device",
        (
            Contestant(OURS, "contestants.ours:append_durable", '`partition.append`, `durability="disk"`'),
            Contestant(
                "bare write",
                "contestants.raw:write_durable",
                "`pwrite` and `fdatasync` of the same bytes at the end of a growing file",
            ),
            Contestant("LMDB", "contestants.lmdb_store:insert_durable", "one `put` a transaction, synced", "lmdb"),
            Contestant(
                "SQLite",
                "contestants.sqlite:insert_durable",
                "prepared `INSERT`, autocommit, WAL, `synchronous=FULL`",
            ),
            Contestant(
                "RocksDB",
                "contestants.rocks:insert_durable",
                "rocksdict `put`, `sync=True`; one process only",
                "rocksdict",
            ),
        ),
        (ratio("bare write", 0.8),),
    ),
    Contest(
        "group_commit",
        "Append on the device from 8 threads",
        (
            Contestant(
                "eventlog, 8 threads",
                "contestants.ours:append_durable_threads",
                '8 threads, each `partition.append` of one record, `durability="disk"`',
            ),
            Contestant(
                "eventlog, 1 thread",
                "contestants.ours:append_durable",
                "the same from one thread",
                share=0.25,
            ),
        ),
        (ratio("eventlog, 1 thread", 3.0, ours="eventlog, 8 threads"),),
    ),
    Contest(
        "wake_up",
        "Wake-up across processes, 1,000 events a second",
        (
            Contestant(OURS, "probes.wake_up:across_processes", "`partition.append` there, `poll` here"),
            Contestant("pipe", "probes.wake_up:through_a_pipe", "`write` there, blocking `read` here"),
        ),
        (
            figure("append to return of poll, median", "p50_us", 100, "us"),
            figure("append to return of poll, 99th percentile", "p99_us", 1_000, "us"),
            figure("core taken by an idle consumer", "idle_percent", 1, "%"),
        ),
        unit="",
        rounds=3,
        warm_up=False,
    ),
    Contest(
        "open",
        "Open a cleanly closed log, small and large",
        (Contestant(OURS, "probes.opening:open_log", "open, end offset, last record; then closed"),),
        (
            Goal(
                "time of the large log / of the small",
                (OURS,),
                lambda got: got[OURS]["large_ms"] / got[OURS]["small_ms"],
                at_most=1.5,
            ),
        ),
        unit="",
        warm_up=False,
        seconds=MANY_SECONDS,
    ),
    Contest(
        "recovery",
        "Open after the writer was killed",
        (
            Contestant(OURS, "probes.recovery:after_kill", "a writer killed by `SIGKILL`"),
            Contestant(
                "eventlog, head lost",
                "probes.recovery:after_loss_of_head",
                "the same, the control page gone as after a power cut: every batch is verified",
            ),
        ),
        (
            Goal("after a kill", (OURS,), lambda got: got[OURS]["rate"], at_least=1e9, unit="B/s"),
            Goal(
                "with the control page lost",
                ("eventlog, head lost",),
                lambda got: got["eventlog, head lost"]["rate"],
                at_least=1e9,
                unit="B/s",
            ),
        ),
        unit="bytes",
        rounds=3,
        seconds=MANY_SECONDS,
    ),
    Contest(
        "seek",
        "Seek to a random place and read one record",
        (
            Contestant(OURS, "probes.seeking:to_offset", "`seek`, `poll(max_records=1)`"),
            Contestant("eventlog, by time", "probes.seeking:to_time", "`offsets_for_times` before that"),
        ),
        (
            figure("by offset, median", "median_us", 40, "us"),
            figure("by time, median", "median_us", 40, "us", name="eventlog, by time"),
        ),
        unit="",
        warm_up=False,
        seconds=MANY_SECONDS,
    ),
    Contest(
        "memory",
        "Anonymous memory while a consumer reads a large log",
        (
            Contestant(OURS, "probes.memory:of_batches", "`poll_batches`, `batch.values()`"),
            Contestant("eventlog, records", "probes.memory:of_records", "`poll(max_records=1000)`"),
        ),
        (
            figure("reading batches, maximum", "anonymous_mb", 150, "MB"),
            figure("reading records, maximum", "anonymous_mb", 150, "MB", name="eventlog, records"),
        ),
        unit="",
        rounds=1,
        warm_up=False,
        seconds=MANY_SECONDS,
    ),
    Contest(
        "group_poll",
        "Poll records as the member of a group",
        (
            Contestant(
                OURS,
                "probes.group_poll:side_by_side",
                "`poll()`, `record.value`: as a group's member that commits automatically, and after `assign` without"
                " a group; in one process, by turns, 30 passes each",
            ),
        ),
        (
            Goal(
                "rate in a group / alone",
                (OURS,),
                lambda got: got[OURS]["alone_ns"] / got[OURS]["group_ns"],
                at_least=0.95,
            ),
        ),
        unit="",
        warm_up=False,
    ),
    Contest(
        "commit",
        "Commit one offset, visible to other processes",
        (
            Contestant(OURS, "contestants.ours:commit", "`commit()` after each record"),
            Contestant(
                "confluent-kafka",
                "contestants.confluent:commit",
                "`commit(asynchronous=False)`; librdkafka's mock cluster",
                CONFLUENT,
                0.1,
            ),
            Contestant(
                "SQLite",
                "contestants.sqlite:upsert_one",
                "prepared upsert of the same row, autocommit, WAL, `synchronous=OFF`",
            ),
            Contestant(
                "LMDB",
                "contestants.lmdb_store:replace_one",
                "one `put` of the same key a transaction, `sync=False`",
                "lmdb",
            ),
        ),
        (figure("one commit, median", "median_us", 15, "us"),),
        unit="",
        counted="commits",
    ),
    Contest(
        "rebalance",
        "Rebalance a group of two processes, both waiting in poll",
        (
            Contestant(
                OURS,
                "probes.rebalancing:join_and_leave",
                "`subscribe` and `poll` until partitions are assigned, into an empty group first; `close` until the"
                " other one has them; 4 partitions",
            ),
            Contestant(
                "eventlog, killed",
                "probes.rebalancing:after_kill",
                "`SIGKILL` until the other one has the partitions",
                share=0.1,
            ),
            Contestant(
                "confluent-kafka",
                "contestants.confluent:first_join",
                "the first join of an empty group, `subscribe` and `poll`; librdkafka's mock cluster, whose coordinator"
                " waits 3 s for more members, as a broker does by default",
                CONFLUENT,
                SLOW,
            ),
        ),
        (
            figure("a member joins, median", "join_ms", 20, "ms"),
            figure("a member leaves, median", "leave_ms", 20, "ms"),
            figure("a member is killed, median", "killed_ms", 200, "ms", name="eventlog, killed"),
        ),
        unit="",
        counted="joins and leaves",
        rounds=3,
        warm_up=False,
    ),
    Contest(
        "offsets_start",
        "Start a group after few commits and after many",
        (Contestant(OURS, "probes.offsets_start:start", "open, `committed()`"),),
        (
            Goal(
                "time after many commits / after few",
                (OURS,),
                lambda got: got[OURS]["large_ms"] / got[OURS]["small_ms"],
                at_most=3.0,
            ),
            figure("after many commits, the longest of 15", "longest_ms", 50, "ms"),
        ),
        unit="",
        counted="commits, beside 1,000",
        warm_up=False,
        seconds=MANY_SECONDS,
    ),
    Contest(
        "group_size",
        "Rebalance a large group",
        (
            Contestant(
                OURS,
                "probes.group_size:change",
                "until all partitions are shared out evenly again; all members but one in one process, polled in turn",
            ),
        ),
        (
            figure("a member joins", "join_s", 2, "s"),
            figure("a member leaves", "leave_s", 2, "s"),
            figure("a member is killed", "crash_s", 2, "s"),
        ),
        unit="",
        counted="members, of ten times as many partitions",
        rounds=3,
        warm_up=False,
    ),
    *exactly_once.CONTESTS,
    *keyed.CONTESTS,
)
