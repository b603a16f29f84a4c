"""What this process may use of the machine, and how old the process is."""

import errno
import os
import re
import resource
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from buildrunner.errors import UsageError

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
"""Variables by which numerical libraries are told how many threads to start."""

_MEMBERSHIP, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_FILES_FOR_US, _FILES_A_WORKER = 24, 3  # open files of the server: what is open for moments too, and what a worker adds
_NO_LIMIT = 1 << 60  # bytes; version 1 writes the largest number of pages there is
_SLOWEST_START = 1.0  # seconds beyond its CPU time that loading this program may take


def cpus() -> int:
    """CPUs this process may use: its affinity, and its control group's quota rounded up."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, min(count, -int(-quota // 1)) if quota else count)


def cpu_quota() -> float | None:
    """CPUs' worth of time the control group allows; None without a limit."""
    return _cgroup_quota(_MEMBERSHIP, _GROUPS)


def is_here(directory: str) -> bool:
    """Whether that is the working directory; which may be gone."""
    try:
        return os.getcwd() == directory
    except FileNotFoundError:
        return False


def own_group() -> Path | None:
    """The folder of this process's control group of version 2; None where there is none."""
    for group in _groups(_MEMBERSHIP, _GROUPS, ""):
        if (group / "cgroup.procs").exists():
            return group
    return None


def thread_variables(setting: str, *, parallel: int, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables `--threads` adds: `auto` shares the CPUs out, `keep` adds none, a number is that number.

    With `auto` what the user set himself stays.
    """
    if setting == "keep":
        return {}
    if setting == "auto":
        share = str(max(1, cpus() // parallel))
        return {name: share for name in THREAD_VARIABLES if name not in environ}
    return dict.fromkeys(THREAD_VARIABLES, setting)


def open_files(workers: int) -> int:
    """How many files the server may have open at once with so many workers."""
    return _FILES_FOR_US + _FILES_A_WORKER * workers


def require_open_files(workers: int) -> None:
    """UsageError where this process may not open as many files as it needs."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY or limit >= open_files(workers):
        return
    fewer = (limit - _FILES_FOR_US) // _FILES_A_WORKER
    raise UsageError(
        f"only {limit} files may be open at once here, and {open_files(workers)} are needed with -j {workers}: "
        f"raise the limit with `ulimit -n {open_files(workers)}`"
        + (f", or run fewer at once with -j {fewer}" if fewer > 0 else "")
    )


def file_size_limit() -> int | None:
    """How many bytes a file may have that this process writes (`ulimit -f`); None for any number."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def why_not_written(exc: OSError) -> str:
    """What kept a file from being written."""
    return TOO_LARGE.format(file_size_limit() or 0) if exc.errno == errno.EFBIG else exc.strerror or str(exc)


TOO_LARGE = "no file may have more than {:,} bytes here (`ulimit -f unlimited` raises that limit)"
"""What is the matter with a file that reached the limit on the size of files, and the remedy."""


def seconds_since_process_start() -> float:
    """Wall seconds since this program started (to 10 ms); call it early. 0.0 where the kernel does not say.

    A shell that ends in `exec buildrunner` was the same process for as long as it liked before. Nothing tells when a
    process became another program; but a start that took a second longer than the CPU worked was somebody else's, and
    then the CPU time stands for it.
    """
    try:
        stat = Path("/proc/self/stat").read_bytes()
        ticks = int(stat.rpartition(b")")[2].split()[19])  # field 22, starttime: proc_pid_stat(5)
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0
    busy = time.process_time()
    return max(0.0, age) if age - busy < _SLOWEST_START else busy


def memory() -> tuple[int | None, int | None, int | None]:
    """Bytes of memory there are, that are free for more programs, and that the control group allows; None: not told."""
    total = available = None
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        available = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        pass
    return total, available, _cgroup_memory(_MEMBERSHIP, _GROUPS)


def file_system(path: str, mountinfo: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The type of the file system a path lies on, or would (`ext4`, `nfs4`, `fuse.sshfs`); None where nothing tells."""
    try:
        lines = mountinfo.read_bytes().splitlines()
    except OSError:
        return None
    place = os.fsencode(os.path.realpath(path)) + b"/"
    found: tuple[int, bytes] = (-1, b"")
    for line in lines:
        fields, _, rest = line.partition(b" - ")
        parts = fields.split()
        if len(parts) < 5 or not rest:
            continue
        point = _unescaped(parts[4]).rstrip(b"/") + b"/"
        if place.startswith(point) and len(point) >= found[0]:  # of two mounted on one place the later one is seen
            found = (len(point), rest.split()[0])
    return os.fsdecode(found[1]) or None


def _unescaped(text: bytes) -> bytes:
    """A mount point as it is: proc_pid_mountinfo(5) writes space, tab, newline and backslash as three octal digits."""
    return re.sub(rb"\\([0-7]{3})", lambda digits: bytes([int(digits[1], 8) & 0xFF]), text)


def _cgroup_quota(membership: Path, mounts: Path) -> float | None:
    """CPUs' worth of time the control group allows, or None; versions 2 and 1, every level up to the root."""
    return min((q for g in _groups(membership, mounts, "cpu") if (q := _quota_of(g)) is not None), default=None)


def _cgroup_memory(membership: Path, mounts: Path) -> int | None:
    """Bytes of memory the control group allows, or None; in the same way."""
    return min((m for g in _groups(membership, mounts, "memory") if (m := _memory_of(g)) is not None), default=None)


def _groups(membership: Path, mounts: Path, controller: str) -> Iterator[Path]:
    """The folders of the control groups this process is in, and those above them, that a controller may limit."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            roots = [mounts, mounts / "unified"]
        elif controller in controllers.split(","):
            roots = [mounts / controllers, mounts / controller]
        else:
            continue
        for root in roots:
            for level in (root / group.lstrip("/"), *(root / group.lstrip("/")).parents):
                if not level.is_relative_to(root):
                    break
                yield level


def _memory_of(group: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        try:
            text = (group / name).read_text().strip()
            return None if text == "max" or int(text) >= _NO_LIMIT else int(text)
        except (OSError, ValueError):
            continue
    return None


def _quota_of(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        microseconds = int((group / "cpu.cfs_quota_us").read_text())
        return microseconds / int((group / "cpu.cfs_period_us").read_text()) if microseconds > 0 else None
    except (OSError, ValueError):
        return None
