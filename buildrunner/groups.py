"""Control groups (version 2) for the workers, below this process's own group, where it may make them.

    own group/buildrunner-RUN-N/          worker N, its script, and everything that one starts
             /buildrunner-RUN-N.memory/   the script and its own, where the kernel is to mind how much memory they use

A worker is moved once, when it starts; what it starts is born in its group. So nothing is paid an attempt but one look
at the list of members, and what escaped from its script's session is found even when it hides its environment.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from buildrunner import machine
from buildrunner.run import group

_MOUNTS = "/sys/fs/cgroup/"
_PREFIX = "buildrunner-"
_ASIDE = _PREFIX + "server-"
_LIMITED = ".memory"
_FORGOTTEN = 60.0  # seconds; an empty group this old belongs to no worker that is just starting


def possible() -> bool:
    """Whether workers get groups here; looks only."""
    own = _own()
    return own is not None and os.access(own, os.W_OK) and os.access(own / "cgroup.procs", os.W_OK)


def make(name: str) -> str | None:
    """An empty group for one worker; None where this process may not make one."""
    own = _own()
    if own is None:
        return None
    path = str(own / (_PREFIX + name))
    try:
        os.mkdir(path)
    except OSError:
        return None
    return path


def make_limited(name: str, memory: int) -> str | None:
    """A group whose processes the kernel ends, all of them, when they use more than so many bytes; None without one."""
    path = make(name + _LIMITED) if offers_memory(ask=True) else None
    if path is None:
        return None
    try:
        group.limit(path, memory)
    except OSError:
        group.remove(path)
        return None
    return path


def offers_memory(*, ask: bool = False) -> bool:
    """Whether groups below our own can limit memory, or could if asked to; looks only, unless it is to `ask`."""
    own = _own()
    if own is None or not possible():
        return False
    control = own / "cgroup.subtree_control"
    with suppress(OSError):
        if "memory" in control.read_text().split():
            return True
        offered = "memory" in (own / "cgroup.controllers").read_text().split()
        if not (offered and os.access(control, os.W_OK) and (_is_root(own) or _alone(own))):
            return False
        if ask:
            if not _is_root(own):  # a group may hold processes or limit the groups below it, not both: so we move
                aside = own / f"{_ASIDE}{os.getpid()}"
                aside.mkdir(exist_ok=True)  # one left by a killed server, where process ids start anew
                (aside / "cgroup.procs").write_text(str(os.getpid()))
            control.write_text("+memory")
        return True
    return False


def _is_root(group: Path) -> bool:
    return not (group / "cgroup.type").exists()


def _alone(group: Path) -> bool:
    return (group / "cgroup.procs").read_text().split() == [str(os.getpid())]


def enter(path: str, pid: int) -> bool:
    """Move a process there, and with it all that it will start; where that is refused the group is removed."""
    try:
        with open(path + "/cgroup.procs", "wb", buffering=0) as file:
            file.write(b"%d" % pid)
    except OSError:
        group.remove(path)
        return False
    return True


def remove(path: str) -> int:
    """End everything in a group made here, and remove it; returns how many processes that were."""
    is_ours = os.path.basename(path).startswith(_PREFIX) and path.startswith(_MOUNTS) and ".." not in path.split("/")
    return group.remove(path) if is_ours else 0


def give_back() -> None:
    """Go back to the group we were started in if we had to leave it: until then no other process can be put there."""
    aside = machine.own_group()
    if aside is None or aside.name != f"{_ASIDE}{os.getpid()}":
        return
    own = aside.parent
    with suppress(OSError):
        if [entry.name for entry in os.scandir(own) if entry.is_dir(follow_symlinks=False)] != [aside.name]:
            return  # they may count on the controller
        (own / "cgroup.subtree_control").write_text("-memory")
        (own / "cgroup.procs").write_text(str(os.getpid()))
        aside.rmdir()


def tidy() -> None:
    """Remove the empty groups of servers that were killed, with those their scripts had made below."""
    own = _own()
    if own is None:
        return
    with suppress(OSError):
        for name in sorted(os.listdir(own)):  # a worker's group before that of its scripts
            path = os.path.join(own, name)
            if not name.startswith(_PREFIX):
                continue
            if name.endswith(_LIMITED) and os.path.exists(path.removesuffix(_LIMITED)):
                continue  # empty between two scripts, and yet in use as long as its worker lives
            with suppress(OSError):
                if time.time() - os.stat(path).st_mtime <= _FORGOTTEN:
                    continue
                try:
                    os.rmdir(path)  # only an empty one goes
                except OSError:
                    if _is_deserted(path):
                        group.remove(path)


def _is_deserted(path: str) -> bool:
    """Whether no process is in a group or below. OSError when that cannot be known."""
    with open(path + "/cgroup.events", "rb", buffering=0) as file:
        return b"populated 0" in file.read()


def _own() -> Path | None:
    """The group we were started in."""
    own = machine.own_group()
    return own.parent if own and own.name.startswith(_ASIDE) else own
