"""How many jobs a second buildrunner's own machinery can carry, and what memory that takes.

Real are the plan, the loop, the ledger, the pool with two worker processes, their queues and journals; only the
scripts are not there: `stub_worker.py` says at once that each has passed. Each size runs in a fresh process, so that
its peak memory is its own. Afterwards the ledger must hold every job as passed, with one attempt and one receipt.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from harness import WIDTH, Result, Usage, machine, mib, number, parser, peak_rss, publish, say, spread, table, timed

from buildrunner.job import Assignment, Attempt, Job, JobSpec
from buildrunner.ledger import Ledger, Reader
from buildrunner.loop import Loop
from buildrunner.plan import Plan, medians
from buildrunner.pool import WorkerPool

SIZES = (1_000, 100_000)

_SCRIPT = "pass.py"


def measure(rounds: int = 3, sizes: tuple[int, ...] = SIZES) -> Result:
    """Run each size `rounds` times; figures by size."""
    runs: dict[int, list[tuple[Result, Usage]]] = {size: [] for size in sizes}
    for turn in range(rounds):
        for size in sizes:
            with tempfile.TemporaryDirectory(prefix="bench-") as name:
                answer = Path(name, "answer.json")
                argv = [sys.executable, __file__, "--here", str(size), "--json", str(answer)]
                usage = timed(argv, cwd=Path(name))
                runs[size].append((json.loads(answer.read_text()), usage))
            say(f"round {turn + 1} of {rounds}: {size} jobs: {runs[size][-1][0]['jobs_per_second']:.0f} a second")
    return {
        "rounds": rounds,
        "workers": WIDTH,
        "sizes": {
            str(size): {
                "jobs_per_second": spread(run["jobs_per_second"] for run, _ in found),
                "cpu_us_per_job": spread(1e6 * usage.cpu / size for _, usage in found),
                "server_peak_rss_bytes": spread(run["server_peak_rss_bytes"] for run, _ in found),
                "ledger_bytes_per_job": found[-1][0]["ledger_bytes"] / size,
            }
            for size, found in runs.items()
        },
    }


def markdown(result: Result) -> str:
    """The table."""
    rows = [
        [
            f"{int(size):,}",
            number(run["jobs_per_second"]["median"], 0),
            f"{number(run['jobs_per_second']['min'], 0)}–{number(run['jobs_per_second']['max'], 0)}",
            number(run["cpu_us_per_job"]["median"], 0),
            mib(run["server_peak_rss_bytes"]["median"]),
            number(run["ledger_bytes_per_job"], 0),
        ]
        for size, run in result["sizes"].items()
    ]
    head = ["jobs", "jobs a second", "min–max", "CPU, µs/job", "server's peak MiB", "ledger, bytes/job"]
    return (
        f"Without scripts, {result['workers']} workers, {result['rounds']} rounds, medians: from before the run is "
        "recorded to after the last receipt is.\n\n" + table(head, rows)
    )


def run_here(jobs: int, work: Path) -> Result:
    """Carry `jobs` stub jobs through in this process; their ledger and journals go to `work`."""
    (work / _SCRIPT).write_text("pass\n")
    specs = [JobSpec(name=f"{n:06}.py", command=(sys.executable,), script=_SCRIPT) for n in range(jobs)]
    state = work / "state"
    with Ledger(state, purpose="benchmark") as ledger:
        begin = time.monotonic()
        run = ledger.add_run(
            name="benchmark",
            target=str(work),
            key=str(work),
            args=(),
            options={"workers": WIDTH},
            jobs=WIDTH,
            python=sys.executable,
            started=time.time(),
            specs=((spec, spec.name) for spec in specs),
        )
        ids = ledger.job_ids(run)
        pool = WorkerPool(
            WIDTH,
            folder=str(work),
            hello=lambda worker: {"env": {}, "cwd": str(work), "ready": str(work / f"ready-{worker}")},
            program=str(Path(__file__).with_name("stub_worker.py")),
        )
        loop = Loop(
            ledger=ledger,
            run=run,
            plan=Plan(specs, durations=medians(ledger.past_seconds(run.key, run.args))),
            pool=pool,
            jobs=[(ids[spec.name], spec.name, Job(spec=spec)) for spec in specs],
            assign=lambda spec, file, attempt: _assignment(work, spec, file, attempt),
            directory=str(work),
        )
        pool.start()
        try:
            loop.run()
            seconds = time.monotonic() - begin
            peak = peak_rss()
        finally:
            pool.close()
    _check(state, jobs)
    return {
        "jobs_per_second": jobs / seconds,
        "seconds": seconds,
        "server_peak_rss_bytes": peak,
        "ledger_bytes": (state / "ledger.db").stat().st_size,
    }


def _assignment(work: Path, spec: JobSpec, file: str, attempt: Attempt) -> Assignment:
    """As full as a real one."""
    output_dir = f"{work}/files/{file}"
    return Assignment(
        attempt=attempt.id,
        job=spec.name,
        number=attempt.number,
        argv=(*spec.command, _SCRIPT),
        cwd=None,
        env=(
            ("BUILDRUNNER_JOB_NAME", spec.name),
            ("BUILDRUNNER_ATTEMPT_ID", attempt.id),
            ("BUILDRUNNER_ATTEMPT_NUMBER", str(attempt.number)),
            ("BUILDRUNNER_OUTPUT_DIR", output_dir),
        ),
        stdout=f"{work}/logs/{file}.out",
        stderr=f"{work}/logs/{file}.err",
        output_dir=output_dir,
        timeout=None,
        grace=5.0,
    )


def _check(state: Path, jobs: int) -> None:
    """RuntimeError unless every job passed, with one attempt and one receipt that counts."""
    reader = Reader.open(state)
    (passed,) = reader.db.execute(
        "SELECT count(*) FROM jobs j JOIN attempts a ON a.id = j.attempt AND a.job = j.id"
        " JOIN receipts r ON r.attempt = a.id AND r.job = j.id"
        " WHERE j.state = 'passed' AND j.attempts = 1 AND r.outcome = 'ok' AND NOT r.superseded"
    ).fetchone()
    totals = [reader.db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("attempts", "receipts")]
    reader.close()
    if [passed, *totals] != [jobs] * 3:
        raise RuntimeError(f"{jobs} jobs: {passed} passed; the ledger holds {totals} attempts and receipts")


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=3)
    options.add_argument(
        "--jobs", type=int, default=SIZES[-1], help=f"the larger of the two sizes (default {SIZES[-1]})"
    )
    options.add_argument("--here", type=int, metavar="N", help="run N jobs once, in this process (for a profiler)")
    arguments = options.parse_args()
    if arguments.here:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            text = json.dumps(run_here(arguments.here, Path(name)))
        if arguments.json:
            arguments.json.write_text(text)
        else:
            print(text)
        return
    facts = machine()
    result = measure(arguments.rounds, tuple(sorted({min(SIZES[0], arguments.jobs), arguments.jobs})))
    publish(arguments, facts, result, markdown(result))


if __name__ == "__main__":
    main()
