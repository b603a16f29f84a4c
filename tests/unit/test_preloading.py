"""Which modules `--preload auto` chooses: by what scripts import, what that cost the last time, what lies beside."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from buildrunner import preloading
from buildrunner.config import Options
from buildrunner.job import Cwd, JobSpec
from buildrunner.run import preload

PYTHON = "/usr/bin/python3"


class Known:
    """A ledger that knows this of modules, the newest run first."""

    def __init__(self, *records: dict[str, Any]) -> None:
        self.records = records

    def preloads(self, python: str) -> Any:
        assert python == PYTHON
        return iter(self.records)


def found(
    seconds: float | None, why: str | None = None, *brings: str, file: str | None = None, at: int | None = None
) -> Any:
    return [seconds, why, list(brings), file, at]


def chosen(
    folder: Path, text: str, known: Known, *, count: int = 6, cwd: Cwd = Cwd.INVOCATION, workers: int = 2
) -> Any:
    for number in range(count):
        (folder / f"{number}.py").write_text(text)
    specs = [JobSpec(name=f"{n}.py", script=f"{n}.py", command=(PYTHON,)) for n in range(count)]
    run: Any = SimpleNamespace(python=PYTHON, workers=workers, options={"directory": str(folder)})
    options = Options(targets=("x",), mode="warm", preload=("auto",), cwd=cwd)
    reader: Any = known
    made = preloading.of(options, run, specs, reader)
    return made.modules, {name: what.why for name, what in made.found.items()}


def test_what_is_known_to_be_quick_is_left_to_the_scripts(tmp_path: Path) -> None:
    known = Known({"quick": found(0.0001), "slow": found(0.01)}, {"slow": found(0.0001)})
    assert chosen(tmp_path, "import quick, slow, new", known) == (("new", "slow"), {})


@pytest.mark.parametrize(("count", "modules"), [(5, ()), (6, ("mod",))])
def test_what_few_scripts_import_is_left_to_them(tmp_path: Path, count: int, modules: tuple[str, ...]) -> None:
    assert chosen(tmp_path, "import mod", Known(), count=count) == (modules, {})


def test_the_folder_a_script_runs_in_counts_only_where_scripts_run_elsewhere(tmp_path: Path) -> None:
    known = Known({"mod": found(0.1, f"its import {preload.ELSEWHERE}")})
    assert chosen(tmp_path, "import mod", known) == (("mod",), {})
    modules, left_out = chosen(tmp_path, "import mod", known, cwd=Cwd.SCRATCH)
    assert (modules, list(left_out)) == ((), ["mod"])


def test_what_is_known_holds_as_long_as_the_module_is_what_it_was(tmp_path: Path) -> None:
    place = tmp_path / "lib.py"
    place.write_text("")
    at = place.stat().st_mtime_ns
    for when, modules in ((at, ()), (at - 1, ("lib_x",))):
        known = Known({"lib_x": found(0.1, "its import prints", file=str(place), at=when)})
        assert chosen(tmp_path, "import lib_x", known)[0] == modules


def test_what_could_not_be_imported_is_tried_again_and_a_folders_files_are_asked_each_time(tmp_path: Path) -> None:
    known = Known(
        {
            "cached": found(0.1, f"its import {preload.WRITES}"),
            "gone": found(0.1, "it cannot be imported: ModuleNotFoundError"),
            "mod": found(None, f"{preloading._BESIDE} mod"),
        }
    )
    assert chosen(tmp_path, "import gone, mod, cached", known) == (("cached", "gone", "mod"), {})


def test_a_file_beside_the_scripts_keeps_out_what_needs_a_module_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "near.py").write_text("")
    (tmp_path / "string.py").write_text("")
    (tmp_path / "json").mkdir()  # no package: it stands in the way of nothing
    known = Known({"mod": found(0.1, None, "string"), "other": found(0.1, None, "json")})
    modules, left_out = chosen(tmp_path, "import near, mod, other, new", known)
    assert modules == ("other",)
    assert left_out == {
        "near": "a file beside the scripts is called near",
        "mod": "a file beside the scripts is called string, which it needs",
        "new": "a file beside the scripts is called string, which it may need",
    }


ENDED = "its import ends its process by signal 9"


def died(*runs: dict[str, Any]) -> preloading.Preloading:
    """What is made of a module in whose import processes ended."""
    known, doubtful = preloading.past(Known(*runs), PYTHON)  # type: ignore[arg-type]
    wanted = [name for name in ("mod", "fine") if name not in known]
    return preloading.Preloading(wanted, left_out=known, doubtful=doubtful)


def test_an_import_in_which_a_process_ended_once_is_tried_again_by_one_worker() -> None:
    again = died({"mod": found(None, ENDED)})
    assert [again.words()[1:] for _ in range(3)] == [["mod", "fine"], ["fine"], ["fine"]]
    again.note("mod", 0.1, None)
    assert again.words()[1:] == ["mod", "fine"]
    again.died("mod", -9)
    assert again.words()[1:] == ["fine"]


def test_of_several_doubtful_modules_each_worker_tries_one_and_a_run_that_ends_none() -> None:
    again = preloading.Preloading(["a", "b", "c"], doubtful={"a", "b"})
    assert [again.words()[1:] for _ in range(3)] == [["a", "c"], ["b", "c"], ["c"]]
    again = preloading.Preloading(["a"], doubtful={"a"})
    again.stop()
    assert again.words() == []


def test_an_import_in_which_a_process_ended_in_two_runs_is_left_out_while_it_is_the_same(tmp_path: Path) -> None:
    place = tmp_path / "mod.py"
    place.write_text("")
    end = found(None, ENDED, file=str(place), at=place.stat().st_mtime_ns)
    late = found(None, "its import takes longer than 60 s", file=str(place), at=place.stat().st_mtime_ns)
    assert died({"mod": end}, {"mod": found(0.1)}, {"mod": end}).words()[1:] == ["mod", "fine"]
    assert died({"mod": end}, {"other": found(0.1)}, {"mod": late}).words()[1:] == ["fine"]
    os.utime(place, ns=(0, 0))
    twice = died({"mod": end}, {"mod": end})
    assert [twice.words()[1:] for _ in range(2)] == [["mod", "fine"], ["mod", "fine"]]


def test_where_a_module_lies_is_noted_before_its_import_ends_the_process(tmp_path: Path) -> None:
    place = tmp_path / "mod.py"
    place.write_text("")
    run = preloading.Preloading(["mod"])
    run.note("mod", None, None, (), str(place))
    run.died("mod", -9)
    assert run.to_record() == {"mod": (None, ENDED, (), str(place), place.stat().st_mtime_ns)}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('"""Usage::\n\n    import danger\n"""\nimport mod', ["mod"]),
        ("if TYPE_CHECKING:\n    import danger\nelse:\n    import mod", ["mod"]),
        ("def f():\n  try:\n    import a\n  except E:\n    import b\n  finally:\n    import c", ["a", "b", "c"]),
        ("match x:\n  case 1:\n    from a import b, c", ["a", "a:b", "a:c"]),
        ("if 0: pass\n" + "elif 0: pass\n" * 500 + "else: import mod", ["mod"]),
        ("from . import near\nfrom a import *", ["a"]),
        ("import mod\nprint 'old'", []),
        ("import mod\0", []),
        ("'\\d'\nimport mod", ["mod"]),
    ],
)
def test_what_a_script_imports_is_what_its_statements_say(text: str, names: list[str]) -> None:
    assert list(preloading.imported_modules(text.encode())) == names


def test_a_long_script_is_not_read(tmp_path: Path) -> None:
    assert chosen(tmp_path, "import mod\n" + "#" * preloading._LONGEST, Known()) == ((), {})


AHEAD = preloading._AHEAD
HERE = "os.path.dirname(os.path.abspath(__file__))"


@pytest.mark.parametrize(
    ("line", "comes_first"),
    [
        ("sys.path.insert(0, 'vendor')", True),
        (f"sys.path.insert(0, os.path.join({HERE}, 'lib', 'py'))", True),
        (f"sys.path[:0] = [os.path.join({HERE}, '..', 'up')]", True),
        (f"sys.path.insert(0, os.path.dirname({HERE}))", True),
        ("sys.path = ['vendor', *sys.path]", True),
        ("from sys import path; path.insert(0, 'vendor')", True),
        ("if 'vendor' not in sys.path: sys.path.append('vendor')", False),
        ("sys.path.insert(0, 'empty')", False),
        ("print('vendor')", False),
    ],
)
def test_a_folder_that_scripts_put_in_front_keeps_out_what_it_holds(
    tmp_path: Path, line: str, comes_first: bool
) -> None:
    folder = tmp_path / "up" / "scripts"
    for name in ("vendor", "lib/py", "empty"):
        (folder / name).mkdir(parents=True)
    for place in ("vendor", "lib/py", ".."):
        (folder / place / "mod.py").write_text("")
    if HERE not in line:
        (folder / ".." / "mod.py").unlink()
    known = Known({"needs": found(0.1, None, "mod"), "other": found(0.1)})
    modules, left_out = chosen(folder, f"import os, sys\n{line}\nimport mod, needs, other", known)
    assert "other" in modules
    assert ("mod" in modules) != comes_first
    kept_out = {"mod": f"{AHEAD} mod", "needs": f"{AHEAD} mod, which it needs"}
    assert left_out == (kept_out if comes_first else {})


def test_beside_scripts_stands_what_a_worker_takes_for_it_too(tmp_path: Path) -> None:
    for name in ("sourceless", "compiled", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "sourceless" / "__init__.pyc").write_text("")
    (tmp_path / "compiled" / "__init__.abi3.so").write_text("")
    (tmp_path / "data" / "init.py").write_text("")
    modules, left_out = chosen(tmp_path, "import sourceless, compiled, data", Known())
    assert (modules, sorted(left_out)) == (("data",), ["compiled", "sourceless"])


def processes(pid: int) -> Any:
    """What numpy.testing was up to numpy 1.26, as this process would have imported it."""
    text = f"def memusage(_stat='/proc/{pid}/stat'): pass\ndef jiffies(_stat='/proc/{pid}/stat', _load=[]): pass"
    exec(text, space := {})
    return SimpleNamespace(memusage=space["memusage"], jiffies=space["jiffies"])


def renew(modules: dict[str, Any], name: str) -> None:
    for call, module in preload.renewals(modules):
        if module is modules[name]:
            call(module)


@pytest.mark.parametrize("is_own", [True, False])
def test_what_names_the_process_is_renewed_where_it_is_as_known(is_own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "numpy.testing._private.utils"
    monkeypatch.setitem(sys.modules, name, utils := processes(os.getpid() if is_own else 1))
    calls = [call for call, module in preload.renewals({name: utils}) if module is utils]
    assert bool(calls) == is_own
    monkeypatch.setattr(os, "getpid", lambda: 12345)
    for call in calls:
        call(utils)
        assert utils.memusage.__defaults__ == ("/proc/12345/stat",)
        assert utils.jiffies.__defaults__ == ("/proc/12345/stat", [])


def test_the_date_f2py_writes_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = pytest.importorskip("numpy.f2py.rules")
    monkeypatch.setitem(rules.module_rules, "modulebody", rules.module_rules["modulebody"])
    monkeypatch.setattr(rules, "generationtime", rules.generationtime)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    renew({"numpy.f2py.rules": rules}, "numpy.f2py.rules")
    assert rules.generationtime == 86400
    assert "Generation date: Fri Jan  2 00:00:00 1970\n" in rules.module_rules["modulebody"]
