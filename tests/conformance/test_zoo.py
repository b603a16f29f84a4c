"""Nobody can tell warm from cold: our own zoo of scripts, and that a difference would be seen."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from buildrunner import config
from tests.conformance.arms import Arm
from tests.conformance.cases import alone
from tests.conformance.compare import Explanation, State, Verdict, compare, explain, faults, summary
from tests.conformance.explained import EXPLAINED
from tests.conformance.zoo_cases import slice_of_zoo, zoo

_PYENVS = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "warm-mode.md"
LEAST_WARM = 120
LEAST_OF_ENDS = 40
_ENDS = ("atexit_", "del_", "end_", "gc_", "hook_", "weak_", "lib_asyncio", "lib_logging", "lib_sqlite", "lib_ctypes")
"""Names of cases whose ends CPython's own end must be like."""

needs_warm = pytest.mark.skipif("warm" not in config.MODES, reason="this version has no --mode warm")


@needs_warm
@pytest.mark.timeout(300)
def test_nobody_can_tell_the_zoos_scripts_from_cold_ones(tmp_path: Path) -> None:
    verdicts = compare(tmp_path, slice_of_zoo(), python=sys.executable, explained=EXPLAINED, timeout=20, briefly=True)
    if faults(verdicts):
        pytest.fail(summary(verdicts), pytrace=False)
    warm = sum(verdict.mode == "warm" for verdict in verdicts)
    assert warm >= LEAST_WARM, summary(verdicts)


@needs_warm
def test_s49_what_lies_beside_a_script_is_found_warm_as_it_is_cold(tmp_path: Path) -> None:
    cases = [case for case in zoo() if case.name.startswith("beside_") and not case.setting.name]
    verdicts = compare(tmp_path, cases, python=sys.executable, explained=EXPLAINED, timeout=20, briefly=True)
    if faults(verdicts):
        pytest.fail(summary(verdicts), pytrace=False)
    assert all(verdict.mode == "warm" for verdict in verdicts), summary(verdicts)


AT_THE_BEGINNING = {
    "frames_stack", "main_dict_in_order", "process_descriptors", "process_session", "source_warning_and_late_error",
    "source_warnings_many", "sys_argv", "sys_modules_order", "sys_path",
}  # fmt: skip
AT_THE_END = {
    "atexit_order", "atexit_threading", "del_global", "del_slots_and_metaclass", "end_class_is_asked",
    "end_class_raises", "end_frozen", "end_filters_broken", "exit_interrupt_raised",
    "files_unflushed_text", "hook_none", "lib_c_atexit_handler", "lib_ctypes", "streams_c_stdio", "streams_full",
    "streams_full_stderr", "streams_stdout_replaced", "thread_daemon_prints", "thread_joined",
    "weak_callback_holder_elsewhere", "weak_finalize",
}  # fmt: skip


@needs_warm
@pytest.mark.parametrize("names", [AT_THE_BEGINNING, AT_THE_END], ids=["beginning", "end"])
def test_what_the_guards_of_warm_mode_rest_on_is_the_same_warm_as_cold(tmp_path: Path, names: set[str]) -> None:
    """Always these, however large the zoo is: tests/guards.py takes out what each of them needs."""
    cases = [case for case in zoo() if case.name in names]
    assert len(cases) == len(names)
    verdicts = compare(tmp_path, cases, python=sys.executable, explained=EXPLAINED, timeout=20, briefly=True)
    if faults(verdicts):
        pytest.fail(summary(verdicts), pytrace=False)
    assert {verdict.name for verdict in verdicts if verdict.mode == "cold"} == names & {"source_warning_and_late_error"}


@needs_warm
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.timeout(300)
def test_nobody_can_tell_with_any_other_python_of_this_machine(tmp_path: Path, version: str) -> None:
    """What an end can be like, which CPython changes from version to version."""
    python = _python(version)
    if python is None:
        pytest.skip(f"there is no CPython {version} here besides the one that runs this")
    cases = [case for case in zoo() if case.name.startswith(_ENDS) and not case.setting.name]
    verdicts = compare(tmp_path, cases, python=python, explained=EXPLAINED, timeout=20, briefly=True)
    if faults(verdicts):
        pytest.fail(summary(verdicts), pytrace=False)
    assert sum(verdict.mode == "warm" for verdict in verdicts) >= LEAST_OF_ENDS, summary(verdicts)


def _python(version: str) -> str | None:
    """One of this version that is installed, and not what runs this."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return None
    ask = "import sys; print(sys.executable, *sys.version_info[:2], sep='\\n')"
    for name in filter(None, [shutil.which(f"python{version}"), *map(str, _PYENVS.glob(f"{version}.*/bin/python"))]):
        said = subprocess.run([name, "-I", "-c", ask], capture_output=True, text=True).stdout.splitlines()
        if said[1:] == version.split("."):
            return said[0]
    return None


@needs_warm
@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_nobody_can_tell_any_of_the_zoos_scripts_from_cold_ones(tmp_path: Path) -> None:
    verdicts = compare(tmp_path, list(zoo()), python=sys.executable, explained=EXPLAINED, timeout=20)
    if faults(verdicts):
        pytest.fail(summary(verdicts), pytrace=False)


def test_names_in_the_zoo_are_distinct_and_every_explanation_is_of_one() -> None:
    names = Counter(case.name for case in zoo())
    assert names.most_common(1)[0][1] == 1, names.most_common(3)
    assert set(EXPLAINED) <= set(names)


@pytest.mark.skipif(not PAGE.exists(), reason="docs/warm-mode.md is not written yet")
def test_every_explanation_stands_in_the_page_users_read() -> None:
    page = " ".join(PAGE.read_text().split())
    for name, told in EXPLAINED.items():
        assert told.sentence in page, f"{name}: not in {PAGE.name}: {told.sentence}"


# Each does one thing that depends on who runs it, which is what a fault of warm mode would look like.
TELLTALES = {
    "code": "import os; raise SystemExit(3 if 'TOLD' in os.environ else 4)",
    "signal": "import os; os.kill(os.getpid(), 9 if 'TOLD' in os.environ else 15)",
    "signal_or_code": "import os; os.kill(os.getpid(), 9) if 'TOLD' in os.environ else os._exit(137)",
    "stdout": "import os; print('TOLD' in os.environ)",
    "stdout_line_end": "import os; print('x', end='' if 'TOLD' in os.environ else '\\n')",
    "stderr": "import os, sys; print('TOLD' in os.environ, file=sys.stderr)",
    "file": "import os; open('left', 'w').write(str('TOLD' in os.environ))",
    "file_name": "import os; open('left' + str('TOLD' in os.environ), 'w')",
    "file_mode": "import os; open('left', 'w'); os.chmod('left', 0o600 if 'TOLD' in os.environ else 0o644)",
    "file_kind": "import os; os.symlink('x', 'left') if 'TOLD' in os.environ else os.mkdir('left')",
    "file_too_many": "import os; 'TOLD' in os.environ and os.mkdir('below')",
    "cached_module": "import os\nopen('m.py','w').close()\nif 'TOLD' in os.environ: import m",
    "output": "import os; open(os.environ['BUILDRUNNER_OUTPUT_DIR'] + '/o', 'w').write(str('TOLD' in os.environ))",
    "temporary_file": "import os; 'TOLD' in os.environ and open(os.environ['TMPDIR'] + '/left', 'w')",
    "nothing": "print('the same')",
    "noise": "print(hex(id(object())), __import__('os').urandom(8).hex())",
    "declared_noise": "print(hex(id(object())))",
}
SAME, NOISY, DIFFERS = State.SAME, State.NOISY, State.DIFFERS
UNTOLD = {"nothing": SAME, "noise": NOISY, "declared_noise": SAME, "temporary_file": SAME}


def told(folder: Path, briefly: bool) -> dict[str, Verdict]:
    cases = []
    for name, text in TELLTALES.items():
        path = folder / f"{name}.py"
        path.write_text(text)
        cases.append(alone(path))
    arm = Arm(mode="cold", env={"TOLD": "1"})
    found = compare(folder / "base", cases, python=sys.executable, warm=arm, timeout=20, briefly=briefly)
    return {verdict.name: verdict for verdict in found}


@pytest.mark.parametrize("briefly", [True, pytest.param(False, marks=pytest.mark.soak)])
def test_a_difference_in_anything_a_script_leaves_is_seen(tmp_path: Path, briefly: bool) -> None:
    verdicts = told(tmp_path, briefly)
    expected = {name: UNTOLD.get(name, DIFFERS) for name in TELLTALES}
    assert {name: verdict.state for name, verdict in verdicts.items()} == {**expected, "(TMPDIR of all)": DIFFERS}
    for name in ("code", "stdout", "stderr", "file"):
        assert "\n-" in verdicts[name].difference and "\n+" in verdicts[name].difference, verdicts[name]
    assert '- "exit_code": 4' in verdicts["code"].difference and '+ "exit_code": 3' in verdicts["code"].difference
    assert "differs in line ends only" in verdicts["stdout_line_end"].difference
    assert "__pycache__/m.cpython" in verdicts["cached_module"].difference


def test_an_explanation_covers_its_own_lines_only_and_one_that_is_not_needed_is_a_fault() -> None:
    told = {"x": Explanation(sentence="A few calls less.", lines=r"[-+]\d{3}")}
    diff = "--- cold stdout\n+++ warm stdout\n@@ -1 +1 @@\n x\n-998\n+996"

    def verdict(state: State, difference: str = "", mode: str = "warm") -> State:
        return explain(Verdict(name="x", state=state, mode=mode, difference=difference), told).state

    assert verdict(State.DIFFERS, diff) is State.EXPLAINED
    assert verdict(State.DIFFERS, diff + "\n+more") is State.DIFFERS
    assert verdict(State.DIFFERS, diff + "\nfile x: only in warm") is State.DIFFERS
    assert verdict(State.SAME) is State.NO_LONGER
    assert verdict(State.SAME, mode="cold") is State.SAME
    assert verdict(State.NOISY) is State.NOISY
