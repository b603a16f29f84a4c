"""Modules imported once for all warm scripts: what scripts then find, and which modules are left out, and why."""

import os
import re
import signal
import sys
from _multiprocessing import SemLock
from typing import Any

import pytest

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has warm scripts"),
]

MINE = "IS_MINE = True\n"
"""A module that can be told from an empty one of its name."""


def run(workspace: Any, *words: str, code: int = 0) -> Any:
    return workspace.run("run", "src", "--mode", "warm", "--no-zip", "--json", *words, code=code)


def library(workspace: Any, **modules: str) -> None:
    """Modules that scripts find through PYTHONPATH."""
    folder = workspace.path / "library"
    folder.mkdir(exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    workspace.env["PYTHONPATH"] += f":{folder}"


def log(workspace: Any, name: str) -> str:
    text: str = workspace.log(name).decode()
    return text


def modes(done: Any) -> set[str]:
    return {result["mode"] for result in done.results.values()}


def test_every_script_draws_numbers_of_its_own(workspace: Any) -> None:
    library(
        workspace,
        own_generator="import numpy\nGENERATOR = numpy.random.default_rng()\n",
        seeded="import numpy\nGENERATOR = numpy.random.default_rng(7)\n",
    )
    for number in range(6):
        workspace.script(
            f"{number}.py",
            "import random, uuid, tempfile, sys\n"
            "early = 'seeded' in sys.modules, 'own_generator' in sys.modules\n"
            "import multiprocessing.process, own_generator, seeded, numpy\n"
            "print(numpy.random.rand(), random.random(), own_generator.GENERATOR.random(),"
            " bytes(multiprocessing.process.current_process().authkey).hex(), uuid.uuid4(), tempfile.mktemp())\n"
            "print(seeded.GENERATOR.random(), *early)\n",
        )
    names = "numpy.random,random,own_generator,seeded,multiprocessing.process,uuid,tempfile"
    done = run(workspace, "--preload", names, "-j", "1")
    assert modes(done) == {"warm"}
    drawn, fixed = zip(*(log(workspace, name).splitlines() for name in done.results), strict=True)
    for column in zip(*(line.split() for line in drawn), strict=True):
        assert len(set(column)) == len(done.results)
    assert len(set(fixed)) == 1
    assert fixed[0].endswith(" True False")  # it was preloaded, and what cannot be drawn anew was not


HANGING = """\
import signal, time
left, _ = signal.getitimer(signal.ITIMER_REAL)
assert 50 < left <= 60, f"it may go on for {left} s"
signal.setitimer(signal.ITIMER_REAL, 0.05)  # as if that time had passed
while True: time.sleep(1)
"""


def test_an_import_that_hangs_is_given_up(workspace: Any) -> None:
    library(workspace, fit=MINE, hanging=HANGING)
    workspace.scripts(a="import sys\nprint('fit' in sys.modules, 'hanging' in sys.modules)")
    done = run(workspace, "--preload", "fit,hanging")
    assert "note: hanging was not preloaded: its import takes longer than 60 s\n" in done.err
    assert (modes(done), log(workspace, "a.py")) == ({"warm"}, "True False\n")


UNFIT = [
    ("import threading, time\nthreading.Thread(target=time.sleep, args=(99,), daemon=True).start()", "a thread"),
    ("import socket\nS = socket.socket()", "leaves socket:"),
    ("import os\nR, W = os.pipe()", "leaves pipe:"),
    ("D = open('/dev/zero')", "leaves /dev/zero open"),
    ("print('hello')", "prints"),
    ("import warnings\nwarnings.warn('old', stacklevel=1)", "prints"),
    ("open('made.txt', 'w').write('x')", "writes to a file"),
    ("import os\nif not os.fork(): os._exit(0)", "leaves a process running"),
    ("import os\nP = os.fork()", "leaves a process running"),
    ("import os, time\nif not os.fork(): time.sleep(99)", "leaves a process running"),
    ("import signal\nsignal.signal(signal.SIGUSR1, print)", "what signals do"),
    ("import sys\nsys.excepthook = print", "reports errors"),
    ("import sys\nsys.settrace(lambda *_: None)", "traces"),
    ("import sys\nsys.setprofile(lambda *_: None)", "traces or profiles"),
    ("import sys\nsys.path.append('/nowhere')", "sys.path"),
    ("import sys\nNAME = sys.argv[0]", "looks at the command line"),
    ("import sys\nARGS = sys.argv", "keeps hold of the script"),
    ("import __main__", "keeps hold of the script"),
    ("import sys\nFILE = getattr(sys.modules['__main__'], '__file__', None)", "looks into __main__"),
    ("import sys\nWORDS = sys.orig_argv[1:]", "looks at the command line"),
    ("import inspect\nCALLER = [frame.filename for frame in inspect.stack()][-1]", "who imports it"),
    ("import sys\nF = sys._getframe()\nwhile F := F.f_back: CALLER = F.f_code.co_filename", "who imports it"),
    ("import warnings\nwarnings.warn('old', DeprecationWarning, stacklevel=2)", "who imports it"),
    ("import locale\nlocale.setlocale(locale.LC_ALL, 'C')", "the locale"),
    ("import os\nK = os.urandom(4)", "draws from the system's randomness"),
    ("import secrets\nK = secrets.token_hex()", "draws from the system's randomness"),
    ("import random\nR = random.Random()", "draws from the system's randomness"),
    ("import random\nX = random.random()", "global generator"),
    ("import random\nrandom.seed(1)", "global generator"),
    ("import numpy\nX = numpy.random.rand()", "global generator"),
    ("import numpy\nnumpy.random.seed(1)", "global generator"),
    ("import numpy\nG = numpy.random.default_rng()", "draws from the system's randomness"),
    ("import uuid\nX = uuid.uuid4()", "draws from the system's randomness"),
    ("import time\nT = time.time()", "reads the clock"),
    ("import datetime\nT = datetime.datetime.now()", "reads the clock"),
    ("import os\nP = os.getpid()", "the number of a process"),
    ("import threading\nP = threading.get_native_id()", "the number of a thread"),
    ("P = open('/proc/self/stat').read()", "its own process in /proc"),
    ("import os\nP = os.stat('/proc/self').st_ino", "its own process in /proc"),
    ("import pathlib\nP = pathlib.Path('/proc/self').resolve().name", "its own process in /proc"),
    ("import os\nE = os.environ.get('BUILDRUNNER_OUTPUT_DIR')", "reads BUILDRUNNER_OUTPUT_DIR"),
    ("import os\nE = os.environ.copy()", "reads BUILDRUNNER_ATTEMPT_ID"),
    ("import mmap\nM = mmap.mmap(-1, 4096)", "shares memory"),
    ("import os\nos.umask(0)", "umask"),
    ("import builtins\nbuiltins.spam = 1", "settings of Python"),
    ("import os\nos._exit(3)", "ends its process with exit code 3"),
    ("import os\nos.kill(os.getpid(), 9)", "ends its process by signal 9"),
    ("1 / 0", "cannot be imported: ZeroDivisionError"),
    ("import json, nowhere", "cannot be imported: ModuleNotFoundError"),
    ("raise SystemExit(4)", "cannot be imported: SystemExit: 4"),
]


def test_what_would_not_survive_a_fork_is_left_out(workspace: Any) -> None:
    library(workspace, fit=MINE, **{f"unfit{number}": text + "\n" for number, (text, _) in enumerate(UNFIT)})
    workspace.scripts(a="import sys\nprint([n for n in sys.modules if 'unfit' in n], 'fit' in sys.modules, sys.argv)")
    names = ",".join(f"unfit{number}" for number in range(len(UNFIT)))
    done = run(workspace, "--preload", names, "--preload", "fit", "-j", "1")
    assert log(workspace, "a.py") == "[] True ['src/a.py']\n"
    assert (modes(done), done.results["a.py"]["attempts"]) == ({"warm"}, 1)
    told = re.findall(r"note: unfit(\d+) was not preloaded: (.*)", done.err)
    found = {text: [why for other, why in told if int(other) == number] for number, (text, _) in enumerate(UNFIT)}
    differing = {text: found[text] for text, why in UNFIT if why not in " ".join(found[text])}
    assert not differing
    why = " ".join(workspace.run("why", "a.py").out.split())
    assert "preloaded fit (" in why
    assert "unfit0 was not preloaded: its import leaves a thread running" in why


HARMLESS = """\
import collections, enum, inspect, sys, traceback, typing, warnings
Point = collections.namedtuple("Point", "x y")
Color = enum.Enum("Color", "RED")
T = typing.TypeVar("T")
CALLER = sys._getframe(1).f_code.co_filename
LINE = traceback.extract_stack(limit=1)[0].lineno
HERE = inspect.getframeinfo(sys._getframe()).lineno
warnings.warn("old", DeprecationWarning, stacklevel=1)
PATHS = [open("/proc/version").read(), sys.modules["__main__"].__class__]
"""


def test_who_looks_at_frames_of_its_own_is_preloaded(workspace: Any) -> None:
    library(
        workspace,
        harmless=HARMLESS,
        inner="import old",
        old="import warnings\nwarnings.warn('x', PendingDeprecationWarning, stacklevel=2)",
    )
    workspace.scripts(a="import sys\nprint('harmless' in sys.modules, 'inner' in sys.modules, sys.orig_argv[1:])")
    run(workspace, "--preload", "harmless,inner,threading")
    assert log(workspace, "a.py") == "True True ['src/a.py']\n"


HELPERS = """\
import os, tempfile
from _multiprocessing import SemLock
_rand = tempfile._RandomNameSequence()
name = "/joblib-{}-{}".format(os.getpid(), next(_rand))
_sem = SemLock(0, 0, 1, name=name, unlink=True)
del _sem
"""
"""What joblib does to see whether there are semaphores."""


def semaphores() -> bool:
    try:
        SemLock(0, 0, 1, name=f"/joblib-test-{os.getpid()}", unlink=True)
    except OSError:
        return False
    return True


@pytest.mark.skipif(not semaphores(), reason="there are no semaphores here")
@pytest.mark.parametrize("more", ["", "import os\nMINE = os.getpid()\n", "open('made.txt', 'w').write('x' * 32)\n"])
def test_joblib_is_preloaded_and_each_script_finds_a_name_of_its_own(workspace: Any, more: str) -> None:
    library(workspace)
    package = workspace.path / "library" / "joblib"
    package.mkdir()
    (package / "__init__.py").write_text(more + "from joblib import _multiprocessing_helpers\n")
    (package / "_multiprocessing_helpers.py").write_text(HELPERS)
    show = (
        "import os, sys\nearly = 'joblib' in sys.modules\nfrom joblib import _multiprocessing_helpers as helpers\n"
        "print(early, helpers.name.startswith(f'/joblib-{os.getpid()}-'), helpers.name.rpartition('-')[2])\n"
    )
    workspace.scripts(a=show, b=show, c=show)
    done = run(workspace, "--preload", "joblib", "-j", "1")
    told = [log(workspace, name).split() for name in done.results]
    assert {(early, own) for early, own, _ in told} == {(str(not more), "True")}
    assert len({drawn for *_, drawn in told}) == 3


def test_another_joblib_that_takes_down_its_process_is_left_out(workspace: Any) -> None:
    library(workspace)
    package = workspace.path / "library" / "joblib"
    package.mkdir()
    (package / "__init__.py").write_text("from joblib import _multiprocessing_helpers\n")
    (package / "_multiprocessing_helpers.py").write_text("import os\nNUMBER = os.getpid()\n")
    workspace.scripts(a="import os, joblib\nprint(joblib._multiprocessing_helpers.NUMBER == os.getpid())\n")
    done = run(workspace, "--preload", "joblib")
    assert log(workspace, "a.py") == "True\n"
    assert "joblib was not preloaded: its import takes down the number of a process" in done.err


def test_a_capsule_of_cs_own_among_what_is_built_in_is_no_obstacle(workspace: Any) -> None:
    library(workspace, bound="import builtins, datetime\nbuiltins.__capsule__ = datetime.datetime_CAPI\n")
    workspace.scripts(a="import sys\nprint('bound' in sys.modules)")
    run(workspace, "--preload", "bound")
    assert log(workspace, "a.py") == "True\n"


def test_what_a_preloaded_module_says_when_it_goes_is_said_in_each_script(workspace: Any) -> None:
    library(workspace, last="class Last:\n    def __del__(self): print('last words')\nKEPT = Last()\n")
    workspace.scripts(a="import last", b="import last")
    done = run(workspace, "--preload", "last")
    assert (modes(done), "not preloaded" in done.err) == ({"warm"}, False)
    assert {log(workspace, name) for name in done.results} == {"last words\n"}


def test_nothing_is_used_that_the_scripts_folder_shadows(workspace: Any) -> None:
    library(workspace, fit=MINE)
    show = "import sys\nearly = 'fit' in sys.modules\nimport fit\nprint(early, hasattr(fit, 'IS_MINE'))\n"
    for folder in ("plain", "module", "package", "data"):
        workspace.script(f"{folder}/a.py", show)
    workspace.script("module/fit.py", "")
    workspace.script("package/fit/__init__.py", "")
    workspace.script("data/fit/x.txt", "")
    (workspace.source / "plain" / "link.py").symlink_to("../module/a.py")
    done = run(workspace, "--preload", "fit", "--recursive", "--include", "a.py", "--include", "link.py")
    found = {
        name: (result["mode"], (workspace.path / result["stdout"]).read_text().strip())
        for name, result in done.results.items()
    }
    assert found == {
        "plain/a.py": ("warm", "True True"),
        "data/a.py": ("warm", "True True"),
        "module/a.py": ("cold", "False False"),
        "package/a.py": ("cold", "False False"),
        "plain/link.py": ("cold", "False False"),
    }
    assert "module/fit.py lies beside it" in done.results["module/a.py"]["why_cold"]


def test_a_module_put_beside_scripts_meanwhile_counts(workspace: Any) -> None:
    library(workspace, fit=MINE)
    workspace.script("a.py", "open('src/fit.py', 'w').write('')")
    workspace.script("b.py", "import fit\nprint(hasattr(fit, 'IS_MINE'))")
    done = run(workspace, "--preload", "fit", "-j", "1", "--order", "name")
    assert [result["mode"] for result in done.results.values()] == ["warm", "cold"]
    assert log(workspace, "b.py") == "False\n"


def test_a_product_of_matrices_in_a_fork_is_right_and_on_several_threads(workspace: Any) -> None:
    workspace.env |= {"OPENBLAS_NUM_THREADS": "2"}
    product = (
        "import os, sys\nearly = 'numpy' in sys.modules\nimport numpy as np\n"
        "a = np.arange(160_000, dtype=float).reshape(400, 400) % 7\n"
        "exact = a.astype(int) @ a.astype(int)\n"
        "print(early, bool(((a @ a) == exact).all()), len(os.listdir('/proc/self/task')))\n"
    )
    workspace.scripts(a=product, b=product, c=product)
    done = run(workspace, "--preload", "numpy", "--threads", "keep", "-j", "2")
    assert modes(done) == {"warm"}
    assert {log(workspace, name) for name in done.results} == {"True True 2\n"}


def test_where_scripts_run_elsewhere_no_file_of_this_folder_is_read_for_them(workspace: Any) -> None:
    library(workspace, conf="import os\nTEXT = open('set.ini').read() if os.path.exists('set.ini') else 'default'\n")
    (workspace.path / "set.ini").write_text("of this folder")
    workspace.scripts(a="import os, sys\nprint('conf' in sys.modules, __import__('conf').TEXT, os.listdir('.'))")
    done = run(workspace, "--preload", "conf", "--cwd", "scratch")
    assert (modes(done), log(workspace, "a.py")) == ({"warm"}, "True default []\n")


def test_what_c_has_buffered_is_written_at_the_end(workspace: Any) -> None:
    workspace.scripts(a="import ctypes\nctypes.CDLL(None).printf(b'from C')")
    assert modes(run(workspace, "--preload", "ctypes")) == {"warm"}
    assert log(workspace, "a.py") == "from C"


def test_ctrl_c_ends_an_import_that_takes_long(workspace: Any, wait_until: Any) -> None:
    library(workspace, slow=f"open({str(workspace.path / 'begun')!r}, 'x')\n" + workspace.until("gate"))
    workspace.scripts(a=workspace.note("ran"))
    process = workspace.start("run", "src", "--mode", "warm", "--preload", "slow", "--no-zip")
    wait_until((workspace.path / "begun").exists)
    process.send_signal(signal.SIGINT)
    workspace.finish(process, code=130, seconds=30)
    assert workspace.notes("ran") == []


def test_several_names_at_once_and_none_of_ours(workspace: Any) -> None:
    workspace.scripts(a="import sys\nprint(*sys.modules, sys.modules['__mp_main__'] is sys.modules['__main__'])")
    run(workspace, "--preload", "json,argparse", "--preload", "pathlib", "--preload", "subprocess,multiprocessing")
    found = log(workspace, "a.py").split()
    assert {"json", "argparse", "pathlib", "subprocess", "multiprocessing", "True"} <= set(found)
    assert not {"buildrunner", "ctypes", "buildrunner.run.preload"} & set(found)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--mode", "cold", "--preload", "numpy"], "leave out one of the two"),
        (["--preload", "a b"], "--preload a b"),
        (["--preload", "json."], "--preload json."),
        (["--preload", "a,,b"], "--preload"),
    ],
)
def test_what_cannot_be_preloaded_is_refused(workspace: Any, words: list[str], told: str) -> None:
    workspace.scripts(a="pass")
    assert told in run(workspace, *words, code=2).err


# auto


def asleep(seconds: float) -> str:
    """A module that takes its time."""
    return f"import select\nselect.select([], [], [], {seconds})\n"


def why(workspace: Any, name: str) -> str:
    return " ".join(workspace.run("why", name).out.split())


def test_auto_preloads_what_many_scripts_import_and_learns(workspace: Any) -> None:
    library(
        workspace,
        slow=asleep(0.02),
        rare=asleep(0.02),
        unfit="import os\nK = os.urandom(8)\n" + asleep(0.02),
        pack=asleep(0.02),
    )
    parts = workspace.path / "library" / "parts"
    parts.mkdir()
    (parts / "__init__.py").write_text("value = 1\n")
    (parts / "one.py").write_text(asleep(0.02))
    text = (
        "import sys\nfound = [n for n in ('slow', 'rare', 'unfit', 'parts.one', 'near') if n in sys.modules]\n"
        "import slow, unfit, near\nfrom parts import one, value\nprint(*found)\n"
    )
    for number in range(6):
        workspace.script(f"{number}.py", text)
    workspace.script("near.py", "")
    workspace.script("6.py", "import rare\n" + text)
    done = run(workspace, "--preload", "auto", "-j", "1")
    assert log(workspace, "0.py") == "slow parts.one\n"
    assert modes(done) == {"warm"}
    assert "note:" not in done.err  # nobody asked for any of them
    first = why(workspace, "0.py")
    assert re.search(r"parts\.one \(\d\d+\.\d ms\)", first)
    assert "unfit was not preloaded: its import draws from the system's randomness" in first
    assert "near was not preloaded: a file beside the scripts is called near" in first
    assert "rare" not in first.partition("preloaded")[2]

    done = run(workspace, "--preload", "auto", "-j", "1")
    assert log(workspace, "0.py") == "slow parts.one\n"
    assert "unfit was not preloaded: its import draws" in why(workspace, "0.py")

    (workspace.path / "library" / "unfit.py").write_text("K = 4\n" + asleep(0.02))
    run(workspace, "--preload", "auto", "-j", "1")
    assert log(workspace, "0.py") == "slow unfit parts.one\n"


def test_auto_preloads_nothing_that_the_folder_may_shadow(workspace: Any) -> None:
    library(workspace, needs="import string\n" + asleep(0.01), other=asleep(0.01))
    for number in range(6):
        workspace.script(f"{number}.py", "import sys\nprint('needs' in sys.modules, 'other' in sys.modules)\n"
                                         "import needs, other")  # fmt: skip
    run(workspace, "--preload", "auto", "-j", "1")
    assert log(workspace, "0.py") == "True True\n"
    workspace.script("string.py", "")
    done = run(workspace, "--preload", "auto", "-j", "1", "--exclude", "string.py")
    assert modes(done) == {"warm"}
    assert log(workspace, "0.py") == "False True\n"  # by now it is known what comes with either
    assert "needs was not preloaded: a file beside the scripts is called string" in why(workspace, "0.py")


def test_doctor_tells_what_was_preloaded_and_what_was_not(workspace: Any) -> None:
    library(workspace, fit=asleep(0.01), unfit="print('hello')")
    workspace.scripts(a="pass")
    run(workspace, "--preload", "fit,unfit")
    told = " ".join(workspace.run("doctor").out.split())
    assert re.search(r"in the last run: fit \(\d+\.\d ms\)", told)
    assert "unfit was not preloaded: its import prints" in told


def test_a_resumed_run_keeps_what_it_preloads(workspace: Any) -> None:
    library(workspace, fit=MINE)
    workspace.scripts(a=workspace.until("gate"), b="import sys\nprint('fit' in sys.modules)")
    run(workspace, "--preload", "fit", "--deadline", "1s", "--grace", "0", "-j", "1", "--order", "name", code=None)
    workspace.open("gate")
    workspace.run("resume", "--deadline", "10m")
    assert log(workspace, "b.py") == "True\n"
