"""What runs will find here: the machine, the folders, the ledger, the programs. Looks only; makes and changes nothing.

Every look stands alone: one that fails is itself something to tell, because a place where even that goes wrong is where
somebody asks.
"""

import os
import platform
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from buildrunner import __version__, groups, machine, preloading
from buildrunner.errors import BuildrunnerError
from buildrunner.interpreters import BY_SUFFIX, choose_python
from buildrunner.ledger import Reader, journals, lock, place, store, strangers
from buildrunner.naming import display
from buildrunner.processes import is_subreaper_possible
from buildrunner.reports.words import count, size
from buildrunner.resumable import broken_off, resumable
from buildrunner.run.pidfd import open_pidfd

_LITTLE_ROOM = 256 << 20  # bytes
_LITTLE_MEMORY = 512 << 20  # bytes
_PROCESSES_A_SCRIPT = 4
_PYTHON_ANSWERS_WITHIN = 20.0  # seconds
_PROBE = (
    "import sys, importlib.util as u; v = sys.version_info; print('%d.%d.%d' % v[:3], u.find_spec('numpy') is not None)"
)


class Verdict(StrEnum):
    """What a finding comes to."""

    OK = "ok"
    DEGRADED = "degraded"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found: `text` says what is there, and where that is not ok `means` says what it costs and the remedy.

    `required`: without it no run can work here. `facts` holds the same as plain values, sizes in bytes.
    """

    topic: str
    text: str
    verdict: Verdict = Verdict.OK
    means: str = ""
    required: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


def degraded(topic: str, text: str, means: str, **facts: Any) -> Finding:
    """Something that works less well than it could."""
    return Finding(topic=topic, text=text, verdict=Verdict.DEGRADED, means=means, facts=facts)


def missing(topic: str, text: str, means: str, *, required: bool = True, **facts: Any) -> Finding:
    """Something that is not there; when `required`, no run works without."""
    return Finding(topic=topic, text=text, verdict=Verdict.MISSING, means=means, required=required, facts=facts)


def looked(topic: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a look finds; its own failure is a finding too."""
    try:
        yield from look()
    except Exception as exc:
        why = display(f"{type(exc).__name__}: {exc}")
        yield degraded(topic, f"cannot be told ({why})", "nothing is known about it; runs may work all the same")


def examine(*, state: str, output: str, python: str | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Everything but what belongs to the command line; in the order in which a person wants it."""
    looks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("buildrunner", _ourselves),
        ("python", lambda: _python(python, environ)),
        ("cpus", _cpus),
        ("memory", _memory),
        ("threads", lambda: _threads(environ)),
        ("working directory", lambda: _folder("working directory", ".", "go to a folder where you may write")),
        (
            "output folder",
            lambda: _folder("output folder", output, "name another with -o DIR", lock=".buildrunner-lock"),
        ),
        ("state folder", lambda: _state_folder(state)),
        ("record", lambda: _ledger(Path(state))),
        ("preloading", lambda: _preloading(Path(state), python, environ)),
        ("sqlite", _sqlite),
        ("process control", _control),
        ("control groups", _control_groups),
        ("limits", _limits),
        ("interpreters", lambda: _interpreters(environ)),
    )
    for topic, look in looks:
        yield from looked(topic, look)


def _ourselves() -> Iterator[Finding]:
    own = platform.python_version()
    where = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    yield Finding(
        topic="buildrunner",
        text=f"{__version__} in {display(where)}, on Python {own} ({display(sys.executable)}), {platform.platform()}",
        facts={"version": __version__, "python": own, "executable": sys.executable, "platform": platform.platform()},
    )


def _python(option: str | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        path, why = choose_python(option, environ)
    except BuildrunnerError as exc:
        yield missing("python", "none for scripts", str(exc))
        return
    remedy = "name another with --python PATH"
    try:
        # As a script would be started, but for the cache files, which would be ours.
        done = subprocess.run(
            [path, "-B", "-c", _PROBE],
            cwd="/",  # where no file of the user's stands in for a module
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PYTHON_ANSWERS_WITHIN,
        )
        version, _, numpy = done.stdout.decode(errors="replace").strip().rpartition(" ")
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    except (OSError, subprocess.SubprocessError) as exc:
        version, numpy, said = "", "", str(exc)
    if not version:
        yield missing(
            "python",
            f"{display(path)} ({why}) does not work: {display(said) or 'no answer'}",
            remedy,
            path=path,
            why=why,
        )
        return
    with_numpy = "with numpy" if numpy == "True" else "without numpy"
    yield Finding(
        topic="python",
        text=f".py scripts get {display(path)} ({why}), Python {display(version)}, {with_numpy}",
        facts={"path": path, "why": why, "version": version, "numpy": numpy == "True"},
    )


def _cpus() -> Iterator[Finding]:
    usable, present, affinity = machine.cpus(), os.cpu_count(), None
    if hasattr(os, "sched_getaffinity"):
        affinity = len(os.sched_getaffinity(0))
    quota = machine.cpu_quota()
    told = [f"{present or 'an unknown number'} present"]
    told += [f"{affinity} usable by affinity"] if affinity is not None else []
    told += [f"control group quota {quota:g}" if quota else "no control group quota"]
    text = f"{', '.join(told)}: {count(usable, 'script')} at once unless -j says otherwise"
    facts = {"present": present, "affinity": affinity, "quota": quota, "usable": usable}
    if usable == 1:
        yield degraded("cpus", text, "scripts take turns, and running several gains nothing but waiting times", **facts)
    else:
        yield Finding(topic="cpus", text=text, facts=facts)


def _memory() -> Iterator[Finding]:
    total, available, limit = machine.memory()
    facts = {"total": total, "available": available, "limit": limit}
    if total is None and available is None:
        yield degraded("memory", "cannot be told", "watch it yourself when scripts are large", **facts)
        return
    text = f"{size(total) or '?'}, {size(available) or 'an unknown part'} available, "
    text += f"control group limit {size(limit)}" if limit else "no control group limit"
    tightest = min(n for n in (available, limit, total) if n is not None)
    if tightest < _LITTLE_MEMORY:
        means = "the system may kill scripts that need more; free some, or run fewer at once with -j"
        yield degraded("memory", text, means, **facts)
    else:
        yield Finding(topic="memory", text=text, facts=facts)


def _threads(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether numerical libraries will crowd the CPUs: with as many scripts as CPUs, each should have one thread."""
    own = {name: environ[name] for name in machine.THREAD_VARIABLES if name in environ}
    cpus = machine.cpus()
    most = max((int(value) for value in own.values() if value.isdecimal()), default=1)
    told = ", ".join(f"{name}={display(value)}" for name, value in own.items())
    if not own:
        text = "no variable set: --threads auto shares the CPUs out among the scripts' numerical libraries"
        yield Finding(topic="threads", text=text, facts={"set": own})
    elif most > 1 and cpus > 1:
        means = (
            f"{cpus} scripts at once may start {cpus * most} threads on {cpus} CPUs, which slows numerical ones: "
            "unset it, or use --threads 1"
        )
        yield degraded("threads", f"{told}, which --threads auto keeps", means, set=own)
    else:
        yield Finding(topic="threads", text=f"{told}, which --threads auto keeps", facts={"set": own})


def _folder(topic: str, path: str, remedy: str, *, lock: str = "") -> Iterator[Finding]:
    """Whether a folder can be written, or made; how much room there is, and on what."""
    shown, there = display(os.path.abspath(path)), _nearest(path)
    kind, free = machine.file_system(there), _free(there)
    facts: dict[str, Any] = {"path": os.path.abspath(path), "exists": there == path, "file_system": kind, "free": free}
    on = f"on {kind or 'an unknown file system'}, {size(free) or 'an unknown number of bytes'} free"
    if not os.path.isdir(there):
        yield missing(topic, f"{shown}: {display(there)} is no folder", remedy, **facts)
    elif not os.access(there, os.W_OK | os.X_OK):
        yield missing(topic, f"{shown}: {display(there)} cannot be written", remedy, **facts)
    elif free == 0:
        yield missing(topic, f"{shown}, {on}", f"make room, or {remedy}", **facts)
    elif lock and _held(Path(path, lock)):
        yield degraded(topic, f"{shown}, {on}; a run uses it now", f"wait for it to end, or {remedy}", **facts)
    elif free is not None and free < _LITTLE_ROOM:
        yield degraded(topic, f"{shown}, {on}", "a run stops when nothing is left: make room", **facts)
    else:
        yield Finding(topic=topic, text=f"{shown}, {on}" + ("" if there == path else "; not there yet"), facts=facts)


def _state_folder(state: str) -> Iterator[Finding]:
    remedy = "name another with --state DIR"
    for finding in _folder("state folder", state, remedy):
        if finding.verdict is not Verdict.MISSING and (kind := place.shared(state)):
            means = f"{kind} is a network file system, and no ledger may lie there: {remedy}, on a disk of this machine"
            yield missing("state folder", finding.text, means, **finding.facts)
        else:
            yield finding


def _ledger(state: Path) -> Iterator[Finding]:
    path = state / store.DATABASE
    if store.is_half_made(path) or not (path.exists() or os.path.exists(f"{path}-wal") or journals.listed(state)):
        try:
            others = strangers(state)
        except OSError:
            others = []
        if others:
            text = f"{display(str(state))} holds other things ({display(others[0])}) and no ledger"
            yield missing("record", text, "name a folder of its own with --state DIR")
        else:
            yield Finding(topic="record", text="none yet; the first run makes it", facts={"runs": 0, "bytes": 0})
        return
    taken = sum(_size(Path(folder, name)) for folder, _, names in os.walk(state) for name in names)
    held = lock.held(state / store.LOCK)
    facts: dict[str, Any] = {"bytes": taken, "held": held}
    try:
        folders = journals.listed(state)
        reader = Reader.glance(state)
        if reader is None:
            yield degraded(
                "record",
                f"{display(str(path))}, {size(taken)}; its log was never merged into it",
                "nothing is known to be lost: the next run or `buildrunner ledger check` reads it",
                **facts,
            )
            return
        try:
            store.refuse_lost(state, folders, reader.db)
            runs = reader.db.execute("SELECT count(*) FROM runs").fetchone()[0]
            unfinished = [run for run in reader.runs() if broken_off(reader, run)]
            can_go_on = sum(resumable(reader, run) for run in unfinished)
            sound = reader.db.execute("PRAGMA quick_check(1)").fetchone()[0]
        finally:
            reader.close()
    except (BuildrunnerError, sqlite3.Error, UnicodeDecodeError) as exc:
        yield missing("record", f"cannot be read: {display(str(exc))}", "name another with --state DIR", **facts)
        return
    facts |= {"runs": runs, "interrupted": len(unfinished), "resumable": can_go_on, "sound": sound == "ok"}
    text = f"{display(str(path))}, {size(taken)}, {count(runs, 'run')}"
    if unfinished:
        text += f" ({len(unfinished)} interrupted, {can_go_on} of which `buildrunner resume RUN` can carry on)"
    if sound != "ok":
        remedy = (
            "see `buildrunner ledger check`; `buildrunner ledger recover` takes what can be trusted into a new folder"
        )
        yield missing("record", f"{text}; the file is damaged", remedy, **facts)
    elif held:
        holder = display(lock.holder(state / store.LOCK))
        yield degraded("record", f"{text}; in use by {holder}", "wait for it to end, or use --state DIR", **facts)
    else:
        yield Finding(topic="record", text=f"{text}; quick check passed", facts=facts)


def _preloading(state: Path, option: str | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What was imported for all warm scripts of the last run that did so with the same Python."""
    record: dict[str, Any] = {}
    with suppress(BuildrunnerError):  # told elsewhere
        path, _ = choose_python(option, environ)
        if (state / store.DATABASE).exists() and (reader := Reader.glance(state)):
            try:
                record = next(reader.preloads(path), {})
            finally:
                reader.close()
    found = preloading.recorded(record)
    there, left_out = preloading.told(found)
    text = "in the last run: " + "; ".join([there or "nothing", *left_out]) if found else "no run has asked for it"
    modules = {name: {"seconds": one.seconds, "why": one.why} for name, one in found.items()}
    yield Finding(topic="preloading", text=display(text), facts={"modules": modules})


def _sqlite() -> Iterator[Finding]:
    yield Finding(topic="sqlite", text=sqlite3.sqlite_version, facts={"version": sqlite3.sqlite_version})


def _control() -> Iterator[Finding]:
    has_pidfd = (fd := open_pidfd(os.getpid())) is not None
    if fd is not None:
        os.close(fd)
    if has_pidfd:
        yield Finding(topic="pidfd", text="the end of a script is noticed at once", facts={"available": True})
    else:
        means = "scripts are waited for in another way, a little later noticed; a newer kernel (5.3) has it"
        yield degraded("pidfd", "not offered", means, available=False)
    environments = os.access(f"/proc/{os.getpid()}/environ", os.R_OK)
    group = groups.possible()
    facts = {"control_group": group, "subreaper": is_subreaper_possible(), "environments": environments}
    if group:
        text = "what leaves its script's process group stays in a control group, and is ended with the script"
        yield Finding(topic="descendants", text=text, facts=facts)
    elif facts["subreaper"] and environments:
        text = (
            "what leaves its script's process group becomes ours, and is ended with the script by the attempt's id in "
            "its environment; one that clears its environment too is ended with the run (no control group is writable)"
        )
        yield Finding(topic="descendants", text=text, facts=facts)
    else:
        lacking = "no /proc" if not environments else "no subreaper"
        means = "a script's daemon may outlive it; only its process group is ended for certain"
        yield degraded("descendants", f"{lacking}, no control group", means, **facts)


def _control_groups() -> Iterator[Finding]:
    group = machine.own_group()
    if group is None:
        text, facts = "no version 2 here", {"version_2": False, "writable": False, "memory": False}
    else:
        facts = {"version_2": True, "writable": groups.possible(), "memory": groups.offers_memory()}
        text = f"version 2 at {display(str(group))}, " + (
            "each worker gets one of its own" if facts["writable"] else "not writable, so workers get none"
        )
    limit = "kept by the kernel" if facts["memory"] else "kept by looking ten times a second or more often"
    yield Finding(topic="control groups", text=f"{text}; --memory is {limit}", facts=facts)


def _limits() -> Iterator[Finding]:
    files, processes = (resource.getrlimit(n)[0] for n in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    cpus = machine.cpus()
    shown = {n: "unlimited" if n == resource.RLIM_INFINITY else f"{n:,}" for n in (files, processes)}
    text = f"{shown[files]} open files, {shown[processes]} processes"
    facts = {"open_files": _number(files), "processes": _number(processes)}
    if files != resource.RLIM_INFINITY and files < machine.open_files(1):
        means = f"a run needs {machine.open_files(1)} at least: raise it with `ulimit -n 1024`"
        yield Finding(topic="limits", text=text, verdict=Verdict.MISSING, means=means, required=True, facts=facts)
    elif files != resource.RLIM_INFINITY and files < machine.open_files(cpus):
        means = f"{count(cpus, 'script')} at once need more: raise it with `ulimit -n 1024`, or run fewer with -j"
        yield degraded("limits", text, means, **facts)
    elif processes != resource.RLIM_INFINITY and processes < _PROCESSES_A_SCRIPT * cpus and os.geteuid() != 0:
        means = f"{count(cpus, 'script')} at once may not all start: raise it with `ulimit -u`, or run fewer with -j"
        yield degraded("limits", text, means, **facts)
    else:
        yield Finding(topic="limits", text=text, facts=facts)


def _interpreters(environ: Mapping[str, str]) -> Iterator[Finding]:
    for suffix, program in BY_SUFFIX.items():
        path = shutil.which(program, path=environ.get("PATH"))
        facts = {"suffix": suffix, "path": path}
        if path:
            yield Finding(topic=program, text=f"{suffix} scripts get {display(path)}", facts=facts)
        else:
            means = f"{suffix} scripts cannot start here: install it, or put its folder on PATH"
            yield missing(program, "not on PATH", means, required=False, **facts)


def _nearest(path: str) -> str:
    """The path, or the nearest above it that is there: where it would be made."""
    while path and not os.path.lexists(path):
        path = os.path.dirname(path)
    return path or "."


def _free(path: str) -> int | None:
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _held(path: Path) -> bool:
    return path.exists() and lock.held(path)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0


def _number(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit
