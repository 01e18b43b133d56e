"""The contests of records with a key, headers, or a value that is no bytes yet; and of one durable send at a time."""

from __future__ import annotations

from benchmarks.contest import CONFLUENT, OURS, Contest, Contestant, Goal, ratio
from benchmarks.workloads import DISTINCT_KEYS, FEW_KEYS, MANY_PARTITIONS, PARTITIONS, PER_CALL, VALUE_BYTES

CPU = "eventlog, processor time"
SHARE_OF_A_PASS = 0.05
COUNTED = f"records of {VALUE_BYTES} bytes"


def _cpu(name: str, plain: str, at_most: float) -> Goal:
    """Processor time of all threads, of two works that were done by turns in one process."""
    return Goal(
        f"processor time: {name.replace('_', ' ')} / {plain.replace('_', ' ')}",
        (CPU,),
        lambda got: got[CPU][f"{name}_percent"] / 100,
        at_most=at_most,
    )


CONTESTS = (
    Contest(
        "send_keyed",
        f"Send one by one with a key, {PARTITIONS} partitions, then flush",
        (
            Contestant(OURS, "contestants.keyed:send", f"`send` with one of {DISTINCT_KEYS:,} keys, then `flush`"),
            Contestant("eventlog, few keys", "contestants.keyed:send_few", f"the same with one of {FEW_KEYS} keys"),
            Contestant(
                "eventlog, own keys", "contestants.keyed:send_distinct", "the same, each record a key of its own"
            ),
            Contestant("eventlog, str keys", "contestants.keyed:send_str", '`key_serializer="str"`, 10,000 keys'),
            Contestant(
                "confluent-kafka",
                "contestants.confluent_keyed:produce",
                f"`produce` with one of {DISTINCT_KEYS:,} keys, `partitioner=murmur2_random`; mock cluster",
                CONFLUENT,
            ),
            Contestant(
                CPU,
                "probes.keyed:sends",
                "with a key, and plain values, in one process by turns; for each record",
                share=SHARE_OF_A_PASS,
            ),
        ),
        (
            ratio("confluent-kafka", 1.0),
            _cpu("keyed", "plain", 2.5),
            _cpu("few_keys", "plain", 2.5),
            _cpu("own_keys", "plain", 2.5),
            _cpu("str_keys", "plain", 3.0),
        ),
        counted=COUNTED,
    ),
    Contest(
        "send_headers",
        f"Send one by one with a key and two headers, {PARTITIONS} partitions, then flush",
        (
            Contestant(OURS, "contestants.keyed:send_headers", "`send` with key and headers, then `flush`"),
            Contestant(
                "confluent-kafka",
                "contestants.confluent_keyed:produce_headers",
                "`produce` with the same; mock cluster",
                CONFLUENT,
            ),
            Contestant(
                CPU,
                "probes.keyed:headers",
                "with key and headers, with headers alone, and plain values, by turns; for each record",
                share=SHARE_OF_A_PASS,
            ),
        ),
        (ratio("confluent-kafka", 1.0), _cpu("headers", "plain", 5.0), _cpu("keyed_headers", "plain", 5.0)),
        counted=COUNTED,
    ),
    Contest(
        "send_json",
        f"Send one by one with a key of text and a value of JSON, {PARTITIONS} partitions, then flush",
        (
            Contestant(OURS, "contestants.keyed:send_json", 'serializers "str" and "json"'),
            Contestant(
                "confluent-kafka",
                "contestants.confluent_keyed:produce_json",
                "`json.dumps` with the same separators, `produce`; mock cluster",
                CONFLUENT,
            ),
        ),
        (ratio("confluent-kafka", 1.0),),
        counted="objects with four fields",
    ),
    Contest(
        "send_partitions",
        f"Send one by one with a key, {MANY_PARTITIONS} partitions, then flush",
        (
            Contestant(OURS, "contestants.keyed:send_to_many", f"`send` with one of {DISTINCT_KEYS:,} keys"),
            Contestant(
                "confluent-kafka",
                "contestants.confluent_keyed:produce_to_many",
                f"`produce` in turn to {MANY_PARTITIONS // PARTITIONS} topics of {PARTITIONS} partitions, which is what"
                " a topic of the mock cluster has",
                CONFLUENT,
            ),
            Contestant(
                CPU,
                "probes.keyed:many_partitions",
                "with a key, and plain values, by turns; for each record",
                share=SHARE_OF_A_PASS,
            ),
        ),
        (ratio("confluent-kafka", 1.0), _cpu("keyed", "plain", 2.5)),
        counted=COUNTED,
    ),
    Contest(
        "send_many_keyed",
        f"Send {PER_CALL:,} a call with keys, {PARTITIONS} partitions",
        (
            Contestant(OURS, "contestants.keyed:send_many", f"`send_many(keys=)`, {DISTINCT_KEYS:,} keys"),
            Contestant(
                "confluent-kafka",
                "contestants.confluent_keyed:produce_batch",
                f"`produce_batch`, {PER_CALL:,} a call; dictionaries built beforehand; mock cluster",
                CONFLUENT,
            ),
            Contestant(
                CPU,
                "probes.keyed:lists",
                "with keys, and plain values, in one process by turns; for each record",
                share=SHARE_OF_A_PASS,
            ),
        ),
        (
            ratio("confluent-kafka", 2.0),
            _cpu("keyed", "plain", 2.0),
            _cpu("few_keys", "plain", 2.0),
            _cpu("own_keys", "plain", 2.0),
        ),
        counted=COUNTED,
    ),
    Contest(
        "transaction_send",
        f"Send one by one in transactions of {PER_CALL:,}, with a key, {PARTITIONS} partitions",
        (
            Contestant(OURS, "contestants.keyed:transact", f"`transaction()`, {PER_CALL:,} `send` in it"),
            Contestant(
                "confluent-kafka",
                "contestants.confluent_keyed:transact",
                "`produce`, `commit_transaction`; mock cluster",
                CONFLUENT,
                0.5,
            ),
            Contestant(
                CPU,
                "probes.keyed:transactions",
                "in transactions, with a key and without, and plain values outside of any, by turns; for each record",
                share=SHARE_OF_A_PASS,
            ),
        ),
        (ratio("confluent-kafka", 1.0), _cpu("keyed", "plain", 2.5), _cpu("unkeyed", "plain", 2.5)),
        counted=COUNTED,
    ),
    Contest(
        "disk_send",
        "Send one record and wait for it to be on the device",
        (
            Contestant(
                OURS, "contestants.keyed:send_durable", '`send(...).result()`, `linger_ms=0`, `durability="disk"`'
            ),
            Contestant("eventlog append", "contestants.ours:append_durable", "`partition.append` of one record"),
            Contestant(
                "bare write",
                "contestants.raw:write_durable",
                "`pwrite` and `fdatasync` of the same bytes at the end of a growing file",
            ),
            Contestant(
                "eventlog, by turns",
                "probes.keyed:durable",
                "`send(...).result()` and the bare write in one process by turns",
            ),
        ),
        (
            Goal(
                "eventlog / bare write, by turns",
                ("eventlog, by turns",),
                lambda got: got["eventlog, by turns"]["rate_percent"] / 100,
                at_least=0.85,
            ),
        ),
        counted=COUNTED,
    ),
)
