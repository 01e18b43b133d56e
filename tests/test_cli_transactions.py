"""The command line on transactions: ``eventlog transactions``, and what ``eventlog verify`` says of the journal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import eventlog
from eventlog.cli.commands import commands
from tests.monitoring.transactions import child, create_topics, killed, transfer

STARTED = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def run(*arguments: object, status: int = 0) -> Result:
    """Run a command in this process."""
    result = CliRunner().invoke(commands, list(map(str, arguments)))
    assert result.exit_code == status, result.output
    return result


def fill(log_path: Path, count: int = 3) -> None:
    """Write so many transactions, one a second, each open for half a second."""
    clock = eventlog.ManualClock(STARTED)
    with eventlog.open(log_path, clock=clock) as log:
        create_topics(log)
        with log.producer(transactional_id="transfer") as producer:
            for _ in range(count):
                with producer.transaction():
                    clock.advance(0.5)
                    producer.send("debits", b"1")
                    producer.send_many("credits", [b"1", b"2"])
                clock.advance(0.5)


def test_transactions_are_listed_in_plain_columns(log_path: Path) -> None:
    """Ids come first, then what was written, newest last; each row has as many columns as its heading."""
    fill(log_path)
    first, second = run("transactions", log_path).output.split("\n\n")
    heading, *rows = [line.split() for line in first.splitlines()]
    assert heading == ["transactional-id", "state", "producer-id", "epoch", "process", "alive", "started", "timeout-s"]
    assert [row[:2] + row[5:] for row in rows] == [
        ["transfer", "CompleteCommit", "no", "2023-11-14T22:13:22.000Z", "60"],
    ]
    heading, *rows = [line.split() for line in second.splitlines()]
    assert heading == [
        "ended", "outcome", "transactional-id", "producer-id", "epoch", "seconds", "records", "partitions",
    ]  # fmt: skip
    assert [row[:3] + row[4:] for row in rows] == [
        [f"2023-11-14T22:13:2{n}.500Z", "committed", "transfer", "0", "0.500", "3", "credits:0;debits:0"]
        for n in range(3)
    ]


def test_the_limit_is_on_the_last_ones(log_path: Path) -> None:
    """The newest are left."""
    fill(log_path)
    output = run("transactions", log_path, "--limit", 1).output
    assert "22:13:22.500" in output and "22:13:21.500" not in output
    assert json.loads(run("transactions", log_path, "--limit", 0, "--format", "json").output)["recent"] == []


def test_transactions_as_json(log_path: Path) -> None:
    """One object with everything that is known, times in milliseconds."""
    fill(log_path, 1)
    found = json.loads(run("transactions", log_path, "--format", "json").output)
    (one,) = found["transactional_ids"]
    assert one["transactional_id"] == "transfer" and not one["is_pending"] and not one["is_alive"]
    assert one["partitions"] == {"credits": [0], "debits": [0]} and one["timeout_ms"] == 60_000
    (recent,) = found["recent"]
    assert (recent["outcome"], recent["started_ms"], recent["ended_ms"]) == (
        "committed", 1_700_000_000_000, 1_700_000_000_500,
    )  # fmt: skip
    assert recent["producer_id"] == one["producer_id"]
    assert recent["parts"] == [
        {"topic": "credits", "partition": 0, "base_offset": 0, "end_offset": 2},
        {"topic": "debits", "partition": 0, "base_offset": 0, "end_offset": 1},
    ]


def test_a_pending_one_of_another_process_is_listed(log_path: Path) -> None:
    """With ``--pending`` only ids are left that have a transaction under way."""
    with eventlog.open(log_path) as log:
        create_topics(log)
        with log.producer(transactional_id="other") as producer:
            transfer(producer)
    with child(log_path, "stay") as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        (row,) = run("transactions", log_path, "--pending").output.split("\n\n")[0].splitlines()[1:]
    cells = row.split()
    assert cells[:2] + cells[4:6] == ["transfer", "Ongoing", str(process.pid), "yes"]


def test_one_that_others_aborted_has_no_more_than_its_time(log_path: Path) -> None:
    """What is not known of it is a dash in the columns, and null in JSON."""
    with eventlog.open(log_path) as log:
        create_topics(log)
        killed(log_path, "journal")
        log.topic("debits").partitions[0].append([b"next"])
    row = run("transactions", log_path).output.splitlines()[-1].split()
    assert row[1:] == ["aborted", "-", "-", "-", "0.000", "0", "-"]
    (recent,) = json.loads(run("transactions", log_path, "--format", "json").output)["recent"]
    assert (recent["transactional_id"], recent["producer_id"], recent["parts"]) == (None, None, [])


def test_a_log_without_transactions_lists_none(log_path: Path) -> None:
    """Two headings, and nothing below them."""
    eventlog.open(log_path).close()
    assert [len(part.splitlines()) for part in run("transactions", log_path).output.split("\n\n")] == [1, 1]


@pytest.mark.parametrize("arguments", [("--limit", "-1"), ("--limit", "x"), ("--format", "xml")])
def test_wrong_options_have_status_2(log_path: Path, arguments: tuple[str, ...]) -> None:
    """What cannot be a limit or a format is a mistake in the call."""
    run("transactions", log_path, *arguments, status=2)


def test_listing_never_creates_a_log(log_path: Path) -> None:
    """Where no log lies, the command says so, and leaves nothing."""
    assert "no log lies here" in run("transactions", log_path, status=1).output
    assert not log_path.exists()


# --- verify ---


def test_a_good_journal_is_verified(log_path: Path) -> None:
    """What was looked at is told in one line."""
    fill(log_path)
    assert "transactions: 3 outcomes, 3 committed: good\nnothing is damaged\n" in run("verify", log_path).output


def test_a_log_without_transactions_says_nothing_of_them(log_path: Path) -> None:
    """There is no line about transactions where there are none."""
    with eventlog.open(log_path) as log:
        create_topics(log)
    assert "transactions" not in run("verify", log_path).output


def test_a_journal_that_is_not_true_is_a_finding(log_path: Path) -> None:
    """A committed range beyond the partition's end is counted and named, and the status is 1."""
    fill(log_path)
    with eventlog.open(log_path) as log:
        journal = log._coordinator.journal
        outcome = log.recent_transactions(1)[0]
        parts = tuple(part._replace(base_offset=90, end_offset=95) for part in outcome.parts[:1])
        journal.append(outcome._replace(parts=parts))
    output = run("verify", log_path, status=1).output
    assert "transactions: 4 outcomes, 4 committed: damaged\n  credits-0: offsets 6 to 94 were committed" in output
    assert "Error: 1 finding; see above" in output


def test_a_damaged_journal_is_a_finding(log_path: Path) -> None:
    """A flipped bit in the journal is damage like that of any segment; batches without an outcome are noted besides."""
    fill(log_path)
    path = log_path / "topics" / "__transaction_state" / "0" / f"{0:020d}.log"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    output = run("verify", log_path, status=1).output
    assert "CRC mismatch; offsets 0 to 0 cannot be read" in output
    assert "note: credits-0: 1 batches of transactions, from offset 0 on, whose outcome was in the damaged" in output
    assert "Error: 1 finding; see above" in output
    assert path.read_bytes() == content


def test_what_a_killed_process_left_is_a_note(log_path: Path) -> None:
    """A partition that nobody has come to since is told of, with status 0, as long as the log stays open elsewhere."""
    with eventlog.open(log_path) as log:
        create_topics(log)
        killed(log_path, "publish")
        output = run("verify", log_path).output
        assert output.count("note: ") == 2 and "it is committed, and whoever comes" in output
        log.topic("debits").partitions[0].append([b"next"])
        log.topic("credits").partitions[0].append([b"next"])
        assert "note: " not in run("verify", log_path).output
