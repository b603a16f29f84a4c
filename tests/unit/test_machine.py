"""What of the machine may be used: control group quotas of both versions, and the threads libraries are told of."""

import os
from pathlib import Path

import pytest

from buildrunner import machine
from buildrunner.machine import THREAD_VARIABLES, cpus, seconds_since_process_start, thread_variables


class Groups:
    """A made-up /proc/self/cgroup and /sys/fs/cgroup."""

    def __init__(self, path: Path) -> None:
        self.membership = path / "cgroup"
        self.mounts = path / "sys"
        self.mounts.mkdir()
        self.membership.touch()

    def member_of(self, *lines: str) -> None:
        self.membership.write_text("".join(line + "\n" for line in lines))

    def write(self, path: str, text: str) -> None:
        file = self.mounts / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    def v1(self, group: str, quota: int, period: int = 100_000) -> None:
        self.write(f"{group}/cpu.cfs_quota_us", str(quota))
        self.write(f"{group}/cpu.cfs_period_us", str(period))

    @property
    def quota(self) -> float | None:
        return machine._cgroup_quota(self.membership, self.mounts)


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def test_no_control_groups_no_quota(groups: Groups, tmp_path: Path) -> None:
    assert groups.quota is None
    assert machine._cgroup_quota(tmp_path / "nowhere", groups.mounts) is None


def test_version_2(groups: Groups) -> None:
    groups.member_of("0::/user.slice/box")
    assert groups.quota is None
    groups.write("user.slice/box/cpu.max", "150000 100000")
    assert groups.quota == 1.5
    groups.write("user.slice/box/cpu.max", "max 100000")
    assert groups.quota is None


def test_version_2_in_the_root_of_a_container(groups: Groups) -> None:
    groups.member_of("0::/")
    groups.write("cpu.max", "50000 100000")
    assert groups.quota == 0.5


def test_the_tightest_quota_on_the_way_to_the_root_counts(groups: Groups) -> None:
    groups.member_of("0::/a/b/c")
    groups.write("a/cpu.max", "300000 100000")
    groups.write("a/b/cpu.max", "200000 100000")
    groups.write("a/b/c/cpu.max", "max 100000")
    assert groups.quota == 2.0
    groups.write("cpu.max", "100000 100000")
    assert groups.quota == 1.0


def test_other_groups_do_not_count(groups: Groups) -> None:
    groups.member_of("0::/a")
    groups.write("b/cpu.max", "100000 100000")
    groups.write("a/below/cpu.max", "100000 100000")
    assert groups.quota is None


def test_a_group_outside_of_what_is_mounted_has_no_quota(groups: Groups) -> None:
    groups.member_of("0::/../../elsewhere")
    assert groups.quota is None


def test_version_1(groups: Groups) -> None:
    groups.member_of("5:memory:/box", "4:cpu,cpuacct:/box", "1:name=systemd:/box")
    groups.v1("cpu,cpuacct/box", 250_000)
    assert groups.quota == 2.5
    groups.v1("cpu,cpuacct/box", -1)
    assert groups.quota is None


def test_version_1_mounted_under_its_short_name(groups: Groups) -> None:
    groups.member_of("4:cpu,cpuacct:/box")
    groups.v1("cpu/box", 100_000, 50_000)
    assert groups.quota == 2.0


def test_version_1_seen_from_inside_a_container(groups: Groups) -> None:
    # The path is the host's; what is mounted is the container's own group.
    groups.member_of("4:cpu,cpuacct:/docker/0123456789abcdef")
    groups.v1("cpu,cpuacct", 150_000)
    assert groups.quota == 1.5


def test_other_controllers_of_version_1_do_not_count(groups: Groups) -> None:
    groups.member_of("3:cpuset:/box", "2:cpuacct:/box")
    groups.v1("cpuset/box", 100_000)
    groups.v1("cpuacct/box", 100_000)
    groups.v1("cpu/box", 100_000)
    assert groups.quota is None


def test_both_versions_at_once(groups: Groups) -> None:
    groups.member_of("4:cpu:/one", "0::/two")
    groups.v1("cpu/one", 300_000)
    groups.write("unified/two/cpu.max", "200000 100000")
    assert groups.quota == 2.0


@pytest.mark.parametrize("text", ["", "max", "lots 100000", "1 2 3"])
def test_a_quota_that_makes_no_sense_is_none(groups: Groups, text: str) -> None:
    groups.member_of("0::/")
    groups.write("cpu.max", text)
    assert groups.quota is None


@pytest.mark.parametrize(
    ("quota", "expected"), [(None, 8), (0.5, 1), (1.0, 1), (1.2, 2), (3.0, 3), (8.5, 8), (64.0, 8), (0.0, 8)]
)
def test_cpus_are_the_affinity_within_the_quota_rounded_up(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "_cgroup_quota", lambda *_: quota)
    assert cpus() == expected


def test_cpus_here() -> None:
    assert 1 <= cpus() <= (os.cpu_count() or 1)


@pytest.fixture
def six_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpus", lambda: 6)


@pytest.mark.usefixtures("six_cpus")
@pytest.mark.parametrize(("parallel", "share"), [(1, "6"), (2, "3"), (4, "1"), (6, "1"), (7, "1")])
def test_cpus_are_shared_out_among_the_scripts(parallel: int, share: str) -> None:
    assert thread_variables("auto", parallel=parallel, environ={}) == dict.fromkeys(THREAD_VARIABLES, share)


@pytest.mark.usefixtures("six_cpus")
def test_what_the_user_set_stays() -> None:
    added = thread_variables("auto", parallel=2, environ={"OMP_NUM_THREADS": "5", "HOME": "/"})
    assert added == dict.fromkeys([v for v in THREAD_VARIABLES if v != "OMP_NUM_THREADS"], "3")


def test_keep_adds_nothing() -> None:
    assert thread_variables("keep", parallel=2, environ={}) == {}


def test_a_number_is_for_all() -> None:
    assert thread_variables("4", parallel=2, environ={"OMP_NUM_THREADS": "5"}) == dict.fromkeys(THREAD_VARIABLES, "4")


def test_a_process_knows_how_old_it_is() -> None:
    first = seconds_since_process_start()
    assert first >= 0
    assert seconds_since_process_start() >= first


# Memory and file systems


def test_memory_of_the_control_group(groups: Groups) -> None:
    def limit() -> int | None:
        return machine._cgroup_memory(groups.membership, groups.mounts)

    groups.member_of("4:memory:/box/inner", "0::/unit")
    assert limit() is None
    groups.write("memory/box/memory.limit_in_bytes", "9223372036854771712")  # version 1's way to say: none
    assert limit() is None
    groups.write("memory/box/memory.limit_in_bytes", "4096000")
    assert limit() == 4096000
    groups.write("unit/memory.max", "max")
    assert limit() == 4096000
    groups.write("unit/memory.max", "1000")
    assert limit() == 1000
    groups.write("memory/box/inner/memory.limit_in_bytes", "nonsense")
    assert limit() == 1000


def test_the_file_system_a_path_lies_on(tmp_path: Path) -> None:
    info = tmp_path / "mountinfo"
    home = os.path.realpath(tmp_path)
    lines = [
        "22 1 0:1 / / rw - ext4 /dev/vda rw",
        f"23 22 0:2 / {home}/a rw shared:1 - nfs4 host:/x rw",
        f"24 22 0:3 / {home}/a/b\\040c rw - tmpfs none rw",
        f"25 22 0:4 / {home}/twice rw - ext4 /dev/x rw",
        f"26 22 0:5 / {home}/twice rw - fuse.sshfs host: rw",
        "27 nonsense",
        "",
    ]
    info.write_text("\n".join(lines))

    def kind(path: str) -> str | None:
        return machine.file_system(os.path.join(home, path), info)

    assert [kind(p) for p in ("", "a", "a/x", "ab", "a/b c", "a/b c/d", "twice/x")] == [
        "ext4", "nfs4", "nfs4", "ext4", "tmpfs", "tmpfs", "fuse.sshfs",
    ]  # fmt: skip
    assert machine.file_system("/", tmp_path / "missing") is None
    info.write_text("")
    assert kind("a") is None
