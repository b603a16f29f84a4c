"""What this process may use of the machine, and how old the process is."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

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

_SLOWEST_START = 1.0  # seconds beyond its CPU time that loading this program may take


def cpus() -> int:
    """CPUs this process may use: its affinity, and its control group's quota rounded up."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return max(1, min(count, -int(-quota // 1)) if quota else count)


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


def _cgroup_quota(membership: Path, mounts: Path) -> float | None:
    """CPUs' worth of time the control group allows, or None; versions 2 and 1, every level up to the root."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            roots = [mounts, mounts / "unified"]
        elif "cpu" in controllers.split(","):
            roots = [mounts / controllers, mounts / "cpu"]
        else:
            continue
        for root in roots:
            for level in (root / group.lstrip("/"), *(root / group.lstrip("/")).parents):
                if not level.is_relative_to(root):
                    break
                if (quota := _quota_of(level)) is not None:
                    quotas.append(quota)
    return min(quotas, default=None)


def _quota_of(group: Path) -> float | None:
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
            return None if quota == "max" else int(quota) / int(period)
        microseconds = int((group / "cpu.cfs_quota_us").read_text())
        return microseconds / int((group / "cpu.cfs_period_us").read_text()) if microseconds > 0 else None
    except (OSError, ValueError):
        return None
