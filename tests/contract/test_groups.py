"""Control groups on stand-ins: folders with the files that the kernel would put there."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from buildrunner import groups, machine
from buildrunner.run.group import MemoryGroup
from buildrunner.run.limits import Limits, Watch

MIB = 1 << 20


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The group this process is in."""
    monkeypatch.setattr(machine, "own_group", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., Path]:
    """Makes or changes a memory group."""
    path = tmp_path / "g.memory"

    def write(*, oom: int = 0, kills: int = 0, current: int = 0, shmem: int = 0) -> Path:
        path.mkdir(exist_ok=True)
        (path / "cgroup.procs").touch()
        (path / "memory.events").write_text(f"low 0\nhigh 0\nmax 7\noom {oom}\noom_kill {kills}\noom_group_kill 0\n")
        (path / "memory.current").write_text(f"{current}\n")
        (path / "memory.stat").write_text(f"anon 0\nfile {current}\nshmem {shmem}\nfile_mapped 0\n")
        return path

    return write


def old(path: Path) -> Path:
    path.mkdir()
    os.utime(path, (time.time() - 3600,) * 2)
    return path


def test_the_empty_group_of_a_living_workers_scripts_is_not_tidied_away(own: Path) -> None:
    living = own / "buildrunner-r-1"
    (living / "with a process").mkdir(parents=True)
    os.utime(living, (time.time() - 3600,) * 2)
    between_two_scripts = old(own / "buildrunner-r-1.memory")
    gone = [old(own / name) for name in ("buildrunner-r-2", "buildrunner-r-2.memory", "buildrunner-s-1.memory")]
    groups.tidy()
    assert living.exists()
    assert between_two_scripts.exists()
    assert not [path for path in gone if path.exists()]


@pytest.mark.skipif(not groups.possible(), reason="needs a control group (version 2) below which groups can be made")
def test_a_group_below_which_a_script_made_its_own_is_tidied_away() -> None:
    left = Path(str(groups.make(f"tidied-{os.getpid()}-1")))
    try:
        (left / "mine").mkdir()
        os.utime(left, (time.time() - 3600,) * 2)
        groups.tidy()
        assert not left.exists()
    finally:
        groups.remove(str(left))


def test_a_server_moves_aside_and_back(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "type": "domain", "procs": f"{os.getpid()}\n", "controllers": "cpu memory", "subtree_control": "",
    }.items():  # fmt: skip
        (own / f"cgroup.{name}").write_text(text)
    assert groups.offers_memory(ask=True)
    aside = own / f"buildrunner-server-{os.getpid()}"
    assert (aside / "cgroup.procs").read_text() == str(os.getpid())
    assert (own / "cgroup.subtree_control").read_text() == "+memory"
    (own / "cgroup.procs").write_text("")
    (aside / "cgroup.procs").unlink()  # the kernel's own files do not keep a group from being removed
    monkeypatch.setattr(machine, "own_group", lambda: aside)
    others = own / "others"
    others.mkdir()
    groups.give_back()
    assert aside.exists()
    others.rmdir()
    groups.give_back()
    assert not aside.exists()
    assert (own / "cgroup.subtree_control").read_text() == "-memory"
    assert (own / "cgroup.procs").read_text() == str(os.getpid())


def test_what_the_script_has_started_meanwhile_is_moved_after_it(stand_in: Callable[..., Path]) -> None:
    limits = Limits(100 * MIB, None, str(stand_in()))
    outside = [[7, 8], [9], []]
    Watch(limits, 6, lambda: iter(outside.pop(0)), {})
    assert not outside
    assert (stand_in() / "cgroup.procs").read_text() == "6789"


@pytest.mark.parametrize(
    ("oom", "kills", "why"),
    [(0, 0, None), (1, 2, "more together than --memory allows (100 MiB)"), (0, 1, "ran out before the 100 MiB")],
)
def test_why_the_kernel_ended_it(stand_in: Callable[..., Path], oom: int, kills: int, why: str | None) -> None:
    stand_in(oom=3, kills=5)
    watch = Watch(Limits(100 * MIB, None, str(stand_in(oom=3, kills=5))), 6, lambda: iter(()), {})
    stand_in(oom=3 + oom, kills=5 + kills)
    (stand_in(oom=3 + oom, kills=5 + kills) / "cgroup.procs").write_text("")
    assert watch.overran() is (why is not None)
    assert (watch.why is None) if why is None else (why in str(watch.why))
    before, watch.why = watch.why, None
    assert not watch.overran(), before


def test_only_files_in_memory_burden_the_next_script(stand_in: Callable[..., Path]) -> None:
    group = MemoryGroup(str(stand_in()), 100 * MIB)
    assert not group.is_burdened()
    stand_in(current=90 * MIB, shmem=MIB)  # the rest gives way
    assert not group.is_burdened()
    stand_in(current=90 * MIB, shmem=40 * MIB)
    assert group.is_burdened()
    group.close()


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="needs a list of open files (/dev/fd)")
def test_a_group_that_is_not_whole_leaves_no_file_open(stand_in: Callable[..., Path]) -> None:
    path = stand_in()
    (path / "memory.current").unlink()
    before = os.listdir("/dev/fd")
    with pytest.raises(FileNotFoundError):
        MemoryGroup(str(path), MIB)
    assert os.listdir("/dev/fd") == before


def test_where_no_new_group_can_be_made_the_next_scripts_are_watched(stand_in: Callable[..., Path]) -> None:
    limits = Limits(100 * MIB, None, str(stand_in()))
    watch = Watch(limits, 6, lambda: iter(()), {})
    (stand_in(current=90 * MIB, shmem=40 * MIB) / "cgroup.procs").write_text("")
    assert not watch.overran()
    assert limits.group is None  # a stand-in with files in it cannot be removed
