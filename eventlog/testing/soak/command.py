"""The soak as a command: runs one episode after the other, and prints what came of each."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from eventlog.testing.soak.episode import Episode
from eventlog.testing.soak.judgement import Judgement, judge
from eventlog.testing.soak.plan import KINDS
from eventlog.testing.soak.roles import LAZY, ROLES
from eventlog.testing.soak.volume import ImageVolume, Volume, can_mount
from eventlog.testing.soak.worker import Worker

_EPISODE_SECONDS = 60.0  # a longer run is several episodes, each with a log, a history and a seed of its own
_MOST_SENTENCES = 5  # of one kind of anomaly
_NEED_IMAGE = {"power", "full"}  # faults of a file system of its own; without one, "full" is played by the workers
_IN_NAMESPACE = "EVENTLOG_SOAK_IN_NAMESPACE"  # set in the process that has mounts of its own


def main(arguments: Sequence[str] | None = None, roles: Mapping[str, type[Worker]] = ROLES) -> int:
    """Run, and return the exit status: 1 when an anomaly was found."""
    options = _parser().parse_args(arguments)
    refusal = can_mount() if _NEED_IMAGE.intersection(options.faults) else ""
    kinds = tuple(kind for kind in options.faults if not refusal or kind != "power")
    if refusal:
        print(f"no file system of its own, so no power cuts, and a full disk that is played: {refusal}", flush=True)
    elif _NEED_IMAGE.intersection(kinds) and _IN_NAMESPACE not in os.environ:
        _enter_namespace()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    left, status = options.seconds, 0
    while left > 0:
        seconds = min(left, _EPISODE_SECONDS)
        status |= _run(seed, seconds, kinds, options, roles)
        left, seed = left - seconds, seed + 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eventlog.testing.soak",
        description="Let processes use a log while they and its disk are hurt, and check that it kept its promises.",
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long faults go on (default 60)")
    parser.add_argument("--seed", type=int, help="plans faults and choices; default: a new one, which is printed")
    parser.add_argument("--faults", type=_kinds, default=KINDS, help=f"which ones; default {','.join(KINDS)}")
    parser.add_argument(
        "--patience", type=float, default=60.0, help="seconds in which the groups must have read what is left (60)"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep histories and log in here")
    return parser


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(filter(None, text.split(",")))
    unknown = set(kinds).difference(KINDS)
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: give some of {','.join(KINDS)}")
    return kinds


def _enter_namespace() -> None:
    """Go on in a mount namespace of this process's own, which takes its mounts along when it ends."""
    command = ["unshare", "--mount", sys.executable, *sys.orig_argv[1:]]
    sys.stdout.flush()
    os.execvpe(command[0], command, {**os.environ, _IN_NAMESPACE: "1"})


def _run(
    seed: int, seconds: float, kinds: Sequence[str], options: argparse.Namespace, roles: Mapping[str, type[Worker]]
) -> int:
    with tempfile.TemporaryDirectory(prefix="eventlog-soak-") as scratch:
        directory = Path(scratch) if options.keep is None else options.keep / f"seed-{seed}"
        directory.mkdir(parents=True, exist_ok=options.keep is None)
        volume = ImageVolume(directory) if _IN_NAMESPACE in os.environ else Volume(directory)
        try:
            episode = Episode(seed, seconds, kinds, roles, directory, volume, patience=options.patience)
            remains = episode.run()
        finally:
            volume.close(keep=options.keep is not None)
        judgement = judge(remains, LAZY, has_chain="second" in roles)
    replay = f"python -m eventlog.testing.soak --seconds {seconds:g} --seed {seed} --faults {','.join(kinds)}"
    print("\n".join(_lines(seed, judgement, replay)), flush=True)
    return int(not judgement.ok)


def _lines(seed: int, judgement: Judgement, replay: str) -> list[str]:
    lines = [f"seed {seed}"]
    lines += _table("operations", judgement.operations) + _table("faults", judgement.faults)
    if judgement.ok:
        return [*lines, "anomalies: none", f"again: {replay}"]
    lines += _table("anomalies", {kind: len(sentences) for kind, sentences in judgement.anomalies.items()})
    for kind, sentences in judgement.anomalies.items():
        lines += [f"  {kind}: {sentence}" for sentence in sentences[:_MOST_SENTENCES]]
    return [*lines, f"replay: {replay}"]


def _table(title: str, counts: Mapping[str, int]) -> list[str]:
    return [f"{title}:", *(f"  {name:<24}{count:>10,}" for name, count in sorted(counts.items()))]
