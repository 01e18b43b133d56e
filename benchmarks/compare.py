"""Measure eventlog side by side with what a Python program would use in its place.

    python benchmarks/compare.py                        # everything, five rounds
    python benchmarks/compare.py --only send --only poll
    python benchmarks/compare.py --quick --ours         # tiny sizes, for a smoke test
    python benchmarks/compare.py --json run.json --report docs/
    python benchmarks/compare.py --from run.json --report docs/

The exit status is 1 when a measurement failed; how fast anything was has no influence on it.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from a checkout

from benchmarks import machine, table
from benchmarks.contest import Contest
from benchmarks.contests import CONTESTS
from benchmarks.harness import Harness
from benchmarks.results import Results
from benchmarks.workloads import FULL, NORMAL, QUICK, Scale

PLACES = ("--dir", "--json", "--report")  # where things go says nothing about the figures


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = [contest.name for contest in CONTESTS]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--ours", action="store_true", help="leave the peers out")
    parser.add_argument("--rounds", type=int, help="counted rounds (default 5; 1 with --quick)")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs")
    sizes.add_argument("--full", action="store_true", help="opens a log of 10 GB instead of 4 GB")
    parser.add_argument("--dir", type=Path, default=Path(), help="file system to measure on")
    parser.add_argument("--build", help="how this Python was built, where it does not say so itself")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write benchmarks.md and its plot")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="source", help="do not run: read figures")
    return parser.parse_args()


@contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """A fresh directory on the file system to be measured, gone at the end."""
    parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="benchmark-", dir=parent.resolve()))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def command(words: list[str]) -> str:
    """The command line without the places it names."""
    kept, skip = [], False
    for word in words:
        if not skip and word.partition("=")[0] not in PLACES:
            kept.append(word)
        skip = word in PLACES
    return shlex.join(["python", "benchmarks/compare.py", *kept])


def run(options: argparse.Namespace, contests: list[Contest]) -> Results:
    scale: Scale = QUICK if options.quick else FULL if options.full else NORMAL
    rounds = options.rounds or (1 if options.quick else 5)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    told = {"date": today, "command": command(sys.argv[1:]), "rounds": rounds, "scale": scale.name}
    with workspace(options.dir) as directory:
        results = Results(told, machine.describe(directory, options.build), [one.name for one in contests])
        Harness(directory, scale, results, options.ours).run(contests, rounds)
    return results


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # children and files go first
    contests = [contest for contest in CONTESTS if not options.only or contest.name in options.only]
    results = Results.read(options.source) if options.source else run(options, contests)
    contests = [contest for contest in contests if contest.name in results.contests]
    print("\n".join(table.lines(results, contests)))
    if options.json:
        results.write(options.json)
    if options.report:
        from benchmarks import report

        report.write(results, contests, options.report)
    return 1 if results.failures() else 0


if __name__ == "__main__":
    sys.exit(main())
