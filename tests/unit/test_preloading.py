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
