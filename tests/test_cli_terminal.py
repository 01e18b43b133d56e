"""What the command line prints of names and records that someone else chose: seen, and never obeyed by a terminal."""

from __future__ import annotations

import ast
import json
import os
import pty
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

import eventlog
from eventlog.cli.terminal import cell, visible, visible_bytes, visible_json

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
NASTY = "x\x1b]0;pwned\x07\u202eevil\u2066\x9b2J\r\nfake-group  stable  9  9  0  0"
ALLOWED = set("\n\t")


def piped(*arguments: object) -> tuple[bytes, bytes]:
    """Run a command with pipes for its output, and return what came out of both."""
    done = subprocess.run(
        [sys.executable, "-m", "eventlog", *map(str, arguments)], cwd=ROOT, env=ENVIRONMENT, capture_output=True
    )
    return done.stdout, done.stderr


def on_terminal(*arguments: object) -> str:
    """Run a command whose standard output and standard error are a terminal, and return what that was sent."""
    watcher, terminal = pty.openpty()
    command = [sys.executable, "-m", "eventlog", *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=terminal, stderr=terminal) as child:
        os.close(terminal)
        shown = b""
        while True:
            try:
                shown += os.read(watcher, 65536)
            except OSError:  # the terminal's other end is closed
                break
        child.wait(timeout=60)
    os.close(watcher)
    return shown.decode().replace("\r\n", "\n")  # the terminal's own line ends


def obeyed(text: str) -> set[str]:
    """The characters of a text that a terminal would not show but obey."""
    return {character for character in text if unicodedata.category(character).startswith(("C", "Z"))} - ALLOWED - {" "}


@pytest.fixture
def nasty_log(log_path: Path) -> Path:
    """A log with records, a group, a client and a transactional id whose names are an attack."""
    with eventlog.open(log_path) as log:
        log.create_topic("t")
        with log.producer(transactional_id="tx" + NASTY) as producer, producer.transaction():
            producer.send("t", NASTY.encode() + b"\xff", key=NASTY.encode(), headers=[("h" + NASTY, NASTY.encode())])
        with log.consumer("t", group="grp" + NASTY, client_id="cli" + NASTY, auto_offset_reset="earliest") as consumer:
            consumer.poll(timeout=60)
            consumer.commit()
        yield log_path


@pytest.mark.parametrize("command", ["groups", "transactions"])
def test_a_name_adds_no_row_and_no_column_to_a_table(nasty_log: Path, command: str) -> None:
    """Each row has as many columns as its heading, also in a pipe, whatever line ends and spaces a name has."""
    out, _ = piped(command, nasty_log)
    for table in out.decode().strip().split("\n\n"):
        heading, *rows = table.splitlines()
        assert len(rows) == 1, table
        assert len(rows[0].split()) == len(heading.split()), table
    assert not obeyed(out.decode())


@pytest.mark.parametrize(
    "arguments",
    [
        ("groups",),
        ("groups", "--format", "json"),
        ("group", "grp" + NASTY),
        ("group", "grp" + NASTY, "--delete"),
        ("group", "no-such" + NASTY),
        ("transactions",),
        ("transactions", "--format", "json"),
        ("verify",),
        ("topics", "--internal"),
        ("consume", "t"),
        ("consume", "t", "--format", "json"),
        ("consume", "t", "--format", r"%o %k=%s %h %K %S\n"),
        ("consume", "t" + NASTY),
        ("consume", "t", "--from", NASTY),
        ("consume", "t", "--group", "other" + NASTY),
        ("produce", "t", NASTY),
        ("produce", "t" + NASTY, "/dev/null"),
        ("nothing" + NASTY,),
    ],
    ids=lambda arguments: " ".join(arguments).split("x\x1b")[0],
)
def test_a_terminal_is_sent_nothing_that_it_obeys(nasty_log: Path, arguments: tuple[str, ...]) -> None:
    """Every command prints only what can be seen, in its results and in its errors."""
    command, *rest = arguments
    assert not obeyed(on_terminal(command, nasty_log, *rest))


def test_a_pipe_gets_records_byte_for_byte(nasty_log: Path) -> None:
    """What a program reads is what was written; on a terminal the same record is one line."""
    value = NASTY.encode() + b"\xff"
    assert piped("consume", nasty_log, "t")[0] == value + b"\n"
    assert piped("consume", nasty_log, "t", "--format", r"%S %k\n")[0] == b"%d %s\n" % (len(value), NASTY.encode())
    shown = on_terminal("consume", nasty_log, "t", "--format", r"%S %s\n")
    assert shown == f"{len(value)} {visible(NASTY)}\\xff\n", "the length is that of the record itself"


def test_json_on_a_terminal_says_the_same(nasty_log: Path) -> None:
    """Escaped for a terminal, JSON still holds the same text."""
    shown = json.loads(on_terminal("consume", nasty_log, "t", "--format", "json"))
    assert shown == json.loads(piped("consume", nasty_log, "t", "--format", "json")[0])
    assert shown["key"] == NASTY


def test_warnings_of_the_library_are_made_visible(log_path: Path) -> None:
    """What the library logs reaches standard error in the same form: a path may hold anything."""
    nasty = log_path / "a\x1b[2J\nb"
    with eventlog.open(nasty, parents=True) as log:
        log.create_topic("t").partitions[0].append([b"x"])
    segment = nasty / "topics" / "t" / "0" / f"{0:020d}.log"
    (nasty / "topics" / "t" / "0" / "head").unlink()
    segment.write_bytes(segment.read_bytes() + b"torn")
    _, err = piped("topics", nasty)
    assert b"no whole batch" in err
    assert not obeyed(err.decode())


def test_random_texts_become_visible_and_stay_apart() -> None:
    """Of any text nothing is left that a terminal obeys, JSON keeps its meaning, and no two cells look the same."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    alphabet = [
        "\\",
        "x",
        "2",
        "0",
        " ",
        "a",
        "é",
        "漢",
        "\n",
        "\x1b",
        "\u202e",
        "\udc80",
        "\U000e0001",
        "\x7f",
        "\x85",
    ]
    texts = {"".join(rng.choices(alphabet, k=rng.randrange(6))) for _ in range(5000)}
    texts |= {chr(rng.randrange(sys.maxunicode)) for _ in range(2000)}
    for text in texts:
        assert visible(text).isprintable() and cell(text).isprintable() and " " not in cell(text)
        assert json.loads(visible_json(json.dumps(text, ensure_ascii=False))) == text
        data = text.encode(errors="surrogatepass")
        assert not obeyed(visible_bytes(data).decode())
    assert len({cell(text) for text in texts}) == len(texts)


def test_every_command_prints_through_one_module() -> None:
    """No command prints by itself: only what escapes calls click's echo, or print."""
    for path in sorted((ROOT / "eventlog" / "cli").glob("*.py")):
        names = [
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call)
        ]
        assert path.name == "terminal.py" or not {"echo", "secho", "print"} & set(names), path
