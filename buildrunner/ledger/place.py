"""Where a record may lie: on a file system that this machine alone sees.

The record needs locks that hold and memory shared between processes (SQLite's write-ahead log). Where several computers
see the files, or a host and its guest, both fail without a word. Why this and no more: docs/decisions/0009.
"""

from pathlib import Path

from buildrunner import machine
from buildrunner.errors import UsageError
from buildrunner.naming import display

SHARED = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "lustre", "gpfs", "beegfs", "glusterfs",
        "orangefs", "pvfs2", "panfs", "ocfs2", "gfs2", "davfs", "vboxsf", "vmhgfs", "prl_fs",
        "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.lustre", "fuse.moosefs", "fuse.mfs", "fuse.juicefs",
        "fuse.seaweedfs", "fuse.davfs2", "fuse.rclone", "fuse.s3fs", "fuse.s3ql", "fuse.goofys", "fuse.mount-s3",
        "fuse.gcsfuse", "fuse.blobfuse", "fuse.blobfuse2", "fuse.nfs", "fuse.smbnetfs", "fuse.curlftpfs",
        "fuse.gvfsd-fuse", "fuse.vmhgfs-fuse", "fuse.grpcfuse", "fuse.osxfs",
    }
)  # fmt: skip
"""File systems that other computers see as well."""

SHARED_UNLESS_ROOT = frozenset({"9p", "virtiofs"})
"""Folders that a host shares with a guest; but some sandboxes have their whole system on one, for themselves."""


def shared(path: str) -> str | None:
    """The type of the file system that makes a place unfit for a record; None where nothing speaks against it."""
    kind = machine.file_system(path)
    if kind in SHARED_UNLESS_ROOT:
        return kind if machine.file_system("/") != kind else None
    return kind if kind in SHARED else None


def require_own(state: Path) -> None:
    """UsageError when the state folder lies, or would lie, where no record may be written."""
    if kind := shared(str(state)):
        raise UsageError(
            f"the state folder {display(str(state))} is on a network file system ({kind}), where a ledger may be "
            "damaged without a word: name a folder on a disk of this machine with --state DIR, below /var/tmp for one"
        )
