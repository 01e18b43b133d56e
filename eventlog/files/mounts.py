"""Tell network file systems from local ones."""

from __future__ import annotations

import os
import sys

from eventlog.files.paths import real_path
from eventlog.files.signal_handlers import pass_on_handlers

NETWORK = frozenset(
    [
        "9p",
        "acfs",
        "afp",
        "afpfs",
        "afs",
        "beegfs",
        "ceph",
        "cephfs",
        "cifs",
        "coda",
        "davfs",
        "fuse.cephfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "webdav",
    ]
)


def network_file_system(path: str) -> str | None:
    """Return the kind of network file system that ``path`` lies on, or None for a local or an unknown one."""
    if sys.platform.startswith("linux"):
        device = os.stat(path).st_dev
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
                kind = kind_of_device(file.read(), os.major(device), os.minor(device))
        except OSError as error:
            pass_on_handlers(error)
            return None
    else:
        kind = kind_from_mount_command(path)
    return kind if kind in NETWORK else None


def kind_of_device(mountinfo: str, major: int, minor: int) -> str | None:
    """Find a device's file system type in the text of ``/proc/self/mountinfo`` (proc(5)).

    >>> kind_of_device("36 35 0:52 / /mnt rw - nfs4 server:/export rw", 0, 52)
    'nfs4'
    """
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        parts = fields.split()
        if len(parts) > 2 and parts[2] == f"{major}:{minor}":
            return rest.split()[0]
    return None


def kind_from_mount_command(path: str) -> str | None:
    """Find the type on macOS, where ``mount`` prints ``<device> on <directory> (<type>, ...)``."""
    import subprocess

    output = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False).stdout
    best, kind = "", None
    for line in output.splitlines():
        _, _, rest = line.partition(" on ")
        directory, _, options = rest.rpartition(" (")
        if real_path(path).startswith(directory) and len(directory) > len(best):
            best, kind = directory, options.split(",")[0].rstrip(")")
    return kind
