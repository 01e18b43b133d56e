"""What the figures were taken on, as far as the system tells."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sqlite3
import sysconfig
import time
from pathlib import Path
from typing import Any

LIBRARIES = ("numpy", "crc32c", "confluent-kafka", "lmdb", "rocksdict", "persist-queue")
LOOPS = 2_000_000


def describe(directory: Path, build: str | None = None) -> dict[str, Any]:
    """Machine, system, interpreter and versions; ``build`` overrides how the interpreter was built."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(directory),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "build": build or _build(),
        "loops_per_second": _loops_per_second(),
        "versions": _versions(),
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"model name\s*:\s*(.+)", text)
    return found[1].strip() if found else platform.machine()


def _file_system(directory: Path) -> str:
    """The type of the file system: that of the longest mount point above the directory."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    above = [(point, kind) for point, kind in mounts if directory.resolve().is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]))[1]


def _build() -> str:
    """How the interpreter says that it was configured and compiled; distributions may not say all."""
    configured = sysconfig.get_config_var("CONFIG_ARGS") or ""
    flags = f"{sysconfig.get_config_var('PY_CFLAGS')} {sysconfig.get_config_var('PY_CORE_LDFLAGS')}"
    optimised = "--enable-optimizations" in configured or "-fprofile-use" in flags
    linked = "--with-lto" in configured or "-flto" in flags
    level = re.findall(r"-O\S", flags)
    parts = [
        platform.python_compiler(),
        level[-1] if level else "",
        "profile-guided" if optimised else "no profile-guided optimisation declared",
        "link-time optimised" if linked else "",
    ]
    return ", ".join(filter(None, parts))


def _loops_per_second() -> float:
    """The speed of the interpreter itself, so that two builds of one version can be told apart."""
    best = float("inf")
    for _ in range(3):
        start, total = time.perf_counter(), 0
        for number in range(LOOPS):
            total += number & 7
        best = min(best, time.perf_counter() - start)
    return LOOPS / best


def _versions() -> dict[str, str]:
    found = {"SQLite": sqlite3.sqlite_version}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = "not installed"
    return found
