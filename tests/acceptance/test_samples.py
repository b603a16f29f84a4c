"""The sample scripts and the sequential baseline, run as a user would run them."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "python_source"
SIZES = {"Prime.py": "PRIME_LIMIT", "Matrix.py": "MATRIX_SIZE", "Fibonacci.py": "FIBONACCI_N"}


def run_python(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited: Mapping[str, str] = {
        name: value for name, value in os.environ.items() if not name.startswith("BUILDRUNNER_")
    }
    return subprocess.run(
        [sys.executable, *arguments],
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def run_sample(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_python(SAMPLES / name, **environment)


@pytest.mark.parametrize(("limit", "count"), [("1", 0), ("2", 0), ("3", 1), ("10", 4), ("1000", 168)])
def test_prime_counts_the_primes_below_the_limit(limit: str, count: int) -> None:
    done = run_sample("Prime.py", PRIME_LIMIT=limit)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{count} primes below {limit}\n", "")


@pytest.mark.parametrize(("n", "value"), [("1", 1), ("2", 1), ("10", 55)])
def test_fibonacci_prints_the_number(n: str, value: int) -> None:
    done = run_sample("Fibonacci.py", FIBONACCI_N=n)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fibonacci({n}) = {value}\n", "")


@pytest.mark.parametrize("size", ["1", "64", "300"])
def test_matrix_prints_the_same_with_any_number_of_threads(size: str) -> None:
    one, two = (
        run_sample("Matrix.py", MATRIX_SIZE=size, OMP_NUM_THREADS=n, OPENBLAS_NUM_THREADS=n) for n in ("1", "2")
    )
    assert (one.returncode, one.stderr) == (0, "")
    assert one.stdout.startswith(f"product of two {size} x {size} matrices")
    assert (two.returncode, two.stdout) == (0, one.stdout)


def test_matrix_names_the_remedy_when_numpy_is_missing() -> None:
    done = run_python("-S", "-E", SAMPLES / "Matrix.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r".*needs numpy.*pip install numpy\n", done.stderr)


@pytest.mark.parametrize("size", ["0", "-5", "1.5", "many", ""])
@pytest.mark.parametrize("name", SIZES)
def test_a_bad_size_is_explained_in_one_line(name: str, size: str) -> None:
    done = run_sample(name, **{SIZES[name]: size})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{SIZES[name]} must be a positive integer, not {size!r}\n"


def test_samples_leave_their_results_in_the_output_folder(tmp_path: Path) -> None:
    small = {"PRIME_LIMIT": "1000", "MATRIX_SIZE": "8", "FIBONACCI_N": "10"}
    for name in SIZES:
        assert run_sample(name, BUILDRUNNER_OUTPUT_DIR=str(tmp_path), **small).returncode == 0
    primes = [int(line) for line in (tmp_path / "primes.txt").read_text().splitlines()]
    assert primes == [937, 941, 947, 953, 967, 971, 977, 983, 991, 997]
    assert (tmp_path / "fibonacci.txt").read_text().splitlines()[-1] == "10 55"
    corner = [line.split(",") for line in (tmp_path / "corner.csv").read_text().splitlines()]
    assert [len(row) for row in corner] == [5] * 5

    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in SIZES:
        run_sample(name, BUILDRUNNER_OUTPUT_DIR=str(tmp_path), **small)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def baseline(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_python(ROOT / "individual_test.py", *arguments)


def table(stdout: str) -> dict[str, str]:
    """The exit code shown beside each script, in the order of the table."""
    rows = re.findall(r"^(\S+\.py) +\d+\.\d{3}  (.+)$", stdout, flags=re.MULTILINE)
    return dict(rows)


def test_baseline_runs_each_script_in_order_and_adds_up(tmp_path: Path) -> None:
    for name in ("b.py", "a.py"):
        (tmp_path / name).write_text("print('not shown')")
    for name in ("__init__.py", "__main__.py", "conftest.py", ".hidden.py"):
        (tmp_path / name).write_text("raise SystemExit('no script')")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.py").mkdir()

    done = baseline(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(table(done.stdout).items()) == [("a.py", "0"), ("b.py", "0")]
    assert "not shown" not in done.stdout
    last = done.stdout.splitlines()[-1]
    seconds = [float(number) for number in re.findall(r"\d+\.\d{3}", done.stdout)]
    assert last.startswith("total")
    assert seconds[-1] == pytest.approx(sum(seconds[:-1]), abs=0.002)


def test_baseline_shows_how_a_script_failed_and_runs_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("raise SystemExit('no luck today')")
    (tmp_path / "b.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    (tmp_path / "c.py").touch()
    done = baseline(tmp_path)
    assert done.returncode == 1
    assert table(done.stdout) == {"a.py": "1", "b.py": "SIGKILL", "c.py": "0"}
    assert "no luck today" in done.stdout


def test_baseline_hands_arguments_to_every_script(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import sys; raise SystemExit(sys.argv[1:] != ['-x', '--', 'two words'])")
    assert baseline(tmp_path, "--", "-x", "--", "two words").returncode == 0
    assert baseline(tmp_path).returncode == 1


def test_baseline_tells_a_missing_folder_from_an_empty_one(tmp_path: Path) -> None:
    missing = baseline(tmp_path / "nowhere")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "nowhere" in missing.stderr
    empty = baseline(tmp_path)
    assert (empty.returncode, empty.stdout) == (5, "")
