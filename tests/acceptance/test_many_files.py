"""A folder of very many scripts: what the program holds in memory grows little with each of them."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

MIB = 1 << 20


def fill(workspace: Any, number: int, text: bytes) -> None:
    """So many scripts, in folders of a thousand."""
    for n in range(number):
        if n % 1000 == 0:
            folder = workspace.source / f"part-{n // 1000:03}"
            folder.mkdir()
        (folder / f"{n:06}.sh").write_bytes(text)


def peak(workspace: Any, *arguments: str, code: int = 0) -> tuple[int, Any]:
    """Run the program to its end: the most memory that it alone held at once, and what it said."""
    report = workspace.path / "peak"
    program = (
        "import resource, sys\nfrom buildrunner.cli import main\nsys.argv[0] = 'buildrunner'\n"
        "try:\n    main()\nfinally:\n"
        f"    open({str(report)!r}, 'w').write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))\n"
    )
    done = workspace.finish(workspace.start_python("-c", program, *arguments), code=code, seconds=3000.0)
    return int(report.read_text()), done


def test_s48_a_plan_of_many_files_needs_little_memory_for_each(workspace: Any) -> None:
    workspace.scripts(a="pass")
    few, _ = peak(workspace, "plan", "src", "-r", "--json")
    fill(workspace, 20_000, b"")
    many, done = peak(workspace, "plan", "src", "-r", "--json")
    assert len(done.document["scripts"]) == 20_001
    assert (many - few) / 20_000 < 3000, f"{(many - few) / 20_000:.0f} bytes a script"


def test_s48_a_run_of_many_files_needs_little_memory_for_each(workspace: Any) -> None:
    """The whole way, from the scan to the zip: each script is one that is really started."""
    fill(workspace, 50, b":")
    few, _ = peak(workspace, "run", "src", "-r", "-q", "--events", "e.jsonl", "--junitxml", "j.xml")
    for path in workspace.source.iterdir():
        for script in path.iterdir():
            script.unlink()
        path.rmdir()
    fill(workspace, 1000, b":")
    many, _ = peak(workspace, "run", "src", "-r", "-q", "--events", "e.jsonl", "--junitxml", "j.xml")
    assert workspace.run("status", "--json").document["totals"]["passed"] == 1000
    assert many - few < 6 * MIB, f"{(many - few) / 950:.0f} bytes a script"


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_s48_a_hundred_thousand_files(workspace: Any) -> None:
    fill(workspace, 100_000, b"exit $(($$ % 2))")
    held = {"most": 0, "descriptors": 0}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            for process in workspace.started[-1:]:
                try:
                    workers = workspace.children(process.pid)
                    held["descriptors"] = max(held["descriptors"], len(os.listdir(f"/proc/{process.pid}/fd")))
                    for worker in workers:
                        status = Path(f"/proc/{worker}/status").read_text()
                        held["most"] = max(held["most"], int(status.partition("VmHWM:")[2].split()[0]) * 1024)
                except (OSError, IndexError):
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    try:
        most, _ = peak(workspace, "run", "src", "-r", "-q", "--events", "e.jsonl", "--junitxml", "j.xml", code=1)
    finally:
        over.set()
        watcher.join()
    print(f"server {most / MIB:.0f} MiB, a worker {held['most'] / MIB:.0f} MiB, {time.monotonic() - began:.0f} s")
    assert most < 250 * MIB
    assert held["most"] < 40 * MIB, "a worker"
    assert held["descriptors"] < 60
    totals = workspace.run("status", "--json").document["totals"]
    assert totals["passed"] + totals["failed"] == 100_000
    assert totals["passed"] > 10_000 < totals["failed"]
    for verb in (["verify", "result.zip"], ["ledger", "check"], ["history"], ["plan", "src", "-r"]):
        assert peak(workspace, *verb)[0] < 600 * MIB, verb
