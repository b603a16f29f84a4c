"""One point: a run of drawn scripts that is struck, resumed, perhaps struck again, and finished; and what it showed.

measure: the same run unharmed ──▶ how long it takes, how many calls there are
run ──struck──▶ [resume ──struck──▶]* resume to the end ──▶ judge
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from buildrunner.errors import BuildrunnerError
from buildrunner.ledger import Reader
from buildrunner.summary import run_document
from tests.harness.blows import CALLED, TIMED, Blow, Shim, draw_blow
from tests.harness.judge import Acknowledged, judge
from tests.harness.traces import MARK, Process, processes, read_events, read_journals, read_ledger, read_witness
from tests.harness.zoo import Kind, draw_scripts

ROOT = Path(__file__).resolve().parents[2]
GONE_WITHIN = 5.0  # seconds
_HANGS_AFTER = 60.0  # seconds, for a run of about one
_UNREADABLE = (sqlite3.Error, zipfile.BadZipFile, BuildrunnerError, OSError, KeyError)
_NOBODY_LEFT = ("server+worker", "server+workers")  # after such a blow scripts run on until `resume`
_ENDING_SERVERS = tuple(kind for kind in (*TIMED, *CALLED) if kind.startswith("server"))


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of a point. `at` is where each blow fell: seconds, or the number of a call."""

    seed: int
    point: int
    kind: str
    blows: list[str] = field(default_factory=list)
    at: list[str] = field(default_factory=list)
    struck: int = 0
    violations: list[str] = field(default_factory=list)
    gone_after: float = 0.0  # seconds from a server's end to that of the last process it is answerable for
    waited_for_resume: int = 0  # processes nobody was left to end, until `resume` did
    ran_again: int = 0  # executions that ended unacknowledged
    seconds: float = 0.0
    folder: str = ""
    few: bool = False

    @property
    def replay(self) -> str:
        """The command that does this again, with each blow where it fell."""
        which = f"{self.seed}:{self.point}:{self.kind}"
        few = " --few" if self.few else ""
        return f"{sys.executable} -m tests.harness --replay {which} --at {','.join(self.at)}{few}"


class Point:
    """A point in a folder of its own."""

    def __init__(
        self, *, seed: int, number: int, kind: str, folder: Path, library: Path | None, at: tuple[str, ...] = (),
        few: bool = False,
    ) -> None:  # fmt: skip
        """`at` puts the blows where an earlier try had them, instead of where this one's measures say."""
        self._draw = random.Random(f"{seed}:{number}:{kind}")
        self.folder = folder
        self._at = list(at)
        self._result = Result(seed=seed, point=number, kind=kind, folder=str(folder), few=few)
        folder.mkdir(parents=True)
        self._shim = Shim(library, folder / "counts") if library else None
        self._scripts: dict[str, Kind] = draw_scripts(self._draw, folder / "src", folder / "witness", few=few)
        draw = self._draw
        self._options = ["-j", str(draw.randint(1, 4)), "--order", draw.choice(("longest", "name", "random"))]
        self._warm = draw.random() < 0.5  # whether the ledger remembers durations, and an older zip is there
        first = draw_blow(draw, (kind,))
        more = draw.choices((0, 1, 2), weights=(6, 3, 1))[0]
        others = _ENDING_SERVERS if library else tuple(k for k in _ENDING_SERVERS if k in TIMED)
        self._blows = [first, *(draw_blow(draw, others) for _ in range(more))]
        self._at_once = [draw.random() < 0.5 for _ in self._blows]  # resume without waiting for anything to end
        self._acknowledged = Acknowledged()
        self._struck_scripts: set[str] = set()  # attempts
        self._orphans: set[str] = set()  # attempts that were running when nobody was left to end them
        self._length = self._scripts_run = 0.0  # seconds, of an unharmed run and of its scripts
        self._starts_before = 0  # how often a session had begun before this one
        self._calls: dict[str, int] = {}  # of an unharmed run
        self._older: frozenset[str] = frozenset()
        self._sessions = 0

    def carry_out(self, *, keep: bool = False) -> Result:
        """Do it all, and leave nothing running; the folder stays when something was found, or to `keep` it."""
        began = time.monotonic()
        result = self._result
        try:
            self._measure()
            self._strike_and_resume()
            self._await_end(time.monotonic(), spare=lambda process: False)
            for violation in self.judge():
                self._violate(violation)
        except _Hangs as exc:
            self._violate(str(exc))
        except _UNREADABLE as exc:
            self._violate(f"wrong: what is left cannot be read: {exc!r}")
        finally:
            self._end_all()
        if not result.violations and not keep:
            shutil.rmtree(self.folder)
        result.seconds = time.monotonic() - began
        return result

    # the sessions

    def _measure(self) -> None:
        began = time.monotonic()
        self._session("run", None)
        self._length = time.monotonic() - began
        self._calls = self._shim.counts() if self._shim else {}
        told = {event["event"]: event["time"] for event in read_events(self.folder / "events.jsonl")}
        first, last = (datetime.fromisoformat(told[e]).timestamp() for e in ("run_started", "packaging"))
        self._scripts_run = 0.8 * (last - first)  # the next run may be faster
        self._await_end(time.monotonic(), spare=lambda process: False)
        for violation in self.judge():
            self._violate(violation + " (in the unharmed run)")
        for path in (self.folder / "witness").iterdir():
            path.unlink()
        if self._warm:
            found = self._read_ledger()
            assert found
            self._older = frozenset({found.run["name"]})
        else:
            for name in (".buildrunner", "python_output"):
                shutil.rmtree(self.folder / name)
            (self.folder / "result.zip").unlink()
        (self.folder / "events.jsonl").unlink()

    def _strike_and_resume(self) -> None:
        for blow, at_once in zip(self._blows, self._at_once, strict=True):
            self._result.blows.append(str(blow))
            code = self._session(self._verb(), blow)
            if code != -signal.SIGKILL:
                if self._is_over():
                    return
                continue
            ended = time.monotonic()
            if blow.kind in _NOBODY_LEFT:
                self._orphans |= {process.attempt for process in processes(self.folder) if process.attempt}
            self.acknowledge()
            self._acknowledged.add_journals(read_journals(self.folder / ".buildrunner" / "runs"))
            self._look_for_half_a_zip()
            if not at_once:
                self._await_end(ended, spare=lambda process, kind=blow.kind: self._waits_for_resume(process, kind))
        if not self._is_over():
            self._session(self._verb(), None)

    def _verb(self) -> str:
        return "resume" if self._read_ledger() else "run"  # killed before it had recorded anything: nothing to resume

    def _is_over(self) -> bool:
        found = self._read_ledger()
        return found is not None and found.run["state"] == "finished" and found.run["archive"] is not None

    def _session(self, verb: str, blow: Blow | None) -> int:
        """One process of the program, perhaps struck; returns how it ended."""
        arguments = ["resume", "-q"]
        if verb == "run":
            arguments = ["run", "src", "-q", "--retries", "1", "--grace", "0.2s", "--events", "events.jsonl"]
            arguments += self._options
        self._sessions += 1
        self._starts_before = 0 if verb == "run" else self._starts_told()
        said = self.folder / f"said.{self._sessions}"
        began = time.monotonic()
        with said.open("wb") as file:
            server = subprocess.Popen(
                [sys.executable, "-m", "buildrunner", *arguments],
                cwd=self.folder, env=self._environment(blow), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        try:
            if blow and blow.kind in TIMED:
                self._strike(server, blow, began)
            code = server.wait(_HANGS_AFTER)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
            raise _Hangs(f"wrong: `{verb}` hangs, see {said}") from None
        self._look_at_end(verb, blow, code, said)
        return code

    def _environment(self, blow: Blow | None) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("BUILDRUNNER_", "PYTHON", "GITHUB_"))}
        kept |= {"PYTHONPATH": str(ROOT), MARK: str(self.folder)}
        return kept | (self._shim.environment(blow, self._call_number(blow)) if self._shim else {})

    def _call_number(self, blow: Blow | None) -> int:
        if blow is None or blow.kind in TIMED:
            return 0
        number = self._next_at() or 1 + int(blow.share * max(1, self._calls[blow.kind]))
        self._result.at.append(str(int(number)))
        return int(number)

    def _next_at(self) -> float | None:
        place = len(self._result.at)
        return float(self._at[place]) if place < len(self._at) else None

    # the blows

    def _strike(self, server: "subprocess.Popen[bytes]", blow: Blow, began: float) -> None:
        """At its moment, kill whom the blow is for; what can be seen as done just before is acknowledged.

        A server alone is struck at any moment, also before its first script; the others while scripts run.
        """
        if blow.kind != "server":
            while self._starts_told() == self._starts_before and server.poll() is None:
                time.sleep(0.002)
            began = time.monotonic()
        moment = self._next_at() or blow.share * (self._length if blow.kind == "server" else self._scripts_run)
        self._result.at.append(f"{moment:.4f}")
        with suppress(subprocess.TimeoutExpired):
            server.wait(max(0.0, began + moment - time.monotonic()))
            return
        self.acknowledge(live=True)
        self._note_status()
        self._look_for_outliving()
        if blow.kind == "script":
            struck = self._kill_script(server)
        else:
            workers = _children(server.pid)
            while blow.kind == "worker" and not workers and server.poll() is None:
                time.sleep(0.002)
                workers = _children(server.pid)
            self._draw.shuffle(workers)
            chosen = {"server": [], "worker": workers[:1], "server+worker": workers[:1], "server+workers": workers}
            victims = chosen[blow.kind] + [server.pid] * blow.ends_server
            struck = bool(victims)
            for pid in victims if blow.share < 0.5 else reversed(victims):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._result.struck += struck

    def _starts_told(self) -> int:
        return sum(event["event"] == "run_started" for event in read_events(self.folder / "events.jsonl"))

    def _kill_script(self, server: "subprocess.Popen[bytes]") -> bool:
        while server.poll() is None:
            leaders = [p for p in processes(self.folder) if p.attempt and p.session == p.pid]
            started = {line.attempt: line.pid for lines in self._witness().values() for line in lines}
            scripts = [p for p in leaders if started.get(p.attempt) == p.pid]
            if scripts:
                victim = self._draw.choice(scripts)
                self._struck_scripts.add(victim.attempt)
                with suppress(ProcessLookupError):
                    os.kill(victim.pid, signal.SIGKILL)
                return True
            time.sleep(0.002)
        return False

    # what it showed

    def _look_at_end(self, verb: str, blow: Blow | None, code: int, said: Path) -> None:
        if blow and blow.kind in CALLED and self._shim:
            self._result.struck += self._shim.counts()[blow.kind] >= int(self._result.at[-1])
        text = said.read_text(errors="replace")
        allowed = (0, 1, -signal.SIGKILL) if blow and blow.ends_server else (0, 1)
        if code not in allowed or "Traceback" in text:
            self._violate(f"wrong: `{verb}` ended with {code}: {text[-400:]}")
        for path in (self.folder / ".buildrunner").glob("runs/*/*.err"):
            if words := path.read_text(errors="replace"):
                self._violate(f"wrong: a worker complained: {words[-400:]}")

    def acknowledge(self, *, live: bool = False) -> None:
        """Hold the program to what it shows as done at this moment; `live`: while its server lives."""
        self._acknowledged.add_events(read_events(self.folder / "events.jsonl"))
        if found := self._read_ledger(live=live):
            self._acknowledged.add_recorded(found)

    def _note_status(self) -> None:
        """What `status --json` shows at this moment."""
        try:
            reader = Reader.open(self.folder / ".buildrunner")
        except BuildrunnerError:
            return  # there is no ledger yet
        try:
            runs = [run for run in reader.runs() if run.name not in self._older]
            if runs:
                self._acknowledged.add_status(run_document(reader, runs[0]))
        finally:
            reader.close()

    def _look_for_outliving(self) -> None:
        """While the run goes on: nothing lives of an attempt that had been recorded as ended before this look."""
        ended = frozenset(self._acknowledged.receipts)
        left = [p for p in processes(self.folder) if p.attempt in ended]
        if left and (left := [p for p in processes(self.folder) if p in left]):
            self._violate("left: outlives its attempt: " + "; ".join(f"{p.pid} {p.command}" for p in left[:4]))

    def _look_for_half_a_zip(self) -> None:
        from buildrunner.package import verify

        path = self.folder / "result.zip"
        if path.exists() and (problems := verify(str(path)).problems):
            self._violate(f"wrong: the zip after a kill: {problems[0]}")

    def _waits_for_resume(self, process: Process, kind: str) -> bool:
        """Whether nobody is left to end this process: it escaped from its script, or its worker was killed as well."""
        if not process.attempt:
            return False
        if (
            kind in _NOBODY_LEFT or process.attempt in self._orphans
        ):  # the latter if `resume` was struck before its turn
            return True
        for job, lines in self._witness().items():
            for line in lines:
                if line.attempt == process.attempt:
                    return self._scripts[job].leaves_daemon and process.session != line.pid
        return False

    def _await_end(self, since: float, *, spare: Any) -> None:
        """Wait until all processes have ended that should, and say which have not in time."""
        while True:
            alive = processes(self.folder)
            late = [process for process in alive if not spare(process)]
            passed = time.monotonic() - since
            if not late:
                self._result.gone_after = max(self._result.gone_after, passed)
                self._result.waited_for_resume += len(alive)
                return
            if passed > GONE_WITHIN:
                self._violate("left: " + "; ".join(f"{p.pid} {p.command} of {p.attempt or 'ours'}" for p in late[:4]))
                return
            time.sleep(0.01)

    def judge(self) -> list[str]:
        """Every promise that the point's folder, as it is now, says was broken."""
        found = self._read_ledger()
        if found is None:
            return ["lost: there is no run in the ledger"]
        violations, self._result.ran_again = judge(
            folder=self.folder,
            found=found,
            scripts=self._scripts,
            witness=self._witness(),
            acknowledged=self._acknowledged,
            struck=self._struck_scripts,
        )
        return violations

    def _violate(self, text: str) -> None:
        self._result.violations.append(text)

    def _read_ledger(self, *, live: bool = False) -> Any:
        return read_ledger(self.folder / ".buildrunner", but=self._older, live=live)

    def _witness(self) -> Any:
        return read_witness(self.folder / "witness")

    def _end_all(self) -> None:
        while left := processes(self.folder):
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.005)


class _Hangs(Exception):
    """A session that does not come to its end."""


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
