"""When nothing is left that has a say in a script's end, so that the interpreter need not be taken apart."""

import os
import subprocess
import sys
from types import ModuleType

import pytest

from buildrunner.run import ending

LOOK = """\
import gc, os, sys
from buildrunner.run import leftover
gc.freeze()
exec(sys.argv[1])
print(leftover.is_silent((os.path.dirname(os.__file__) + "/",)), file=sys.__stdout__, flush=True)
os._exit(0)
"""
RECEIVER = "class Receiver:\n    def call(self): pass\nreceiver = Receiver()\n"


def is_silent(text: str) -> bool:
    done = subprocess.run([sys.executable, "-c", LOOK, text], stdout=subprocess.PIPE, text=True, check=True)
    return {"True\n": True, "False\n": False}[done.stdout]


@pytest.mark.parametrize(
    "text",
    [
        "left = (number for number in [1, 2])",
        "done = (number for number in [1]); list(done)",
        "import io; left = io.BytesIO(b'x'), io.StringIO('x')",
        "left = open('/proc/self/stat', 'rb')",
        "import warnings; warnings.filterwarnings('ignore', message='other'); left = open('/proc/self/stat', 'rb')",
        "left = open('/dev/null', 'w'); left.write('x'); left.close()",
        "with open('/dev/null') as left: pass",
        "import threading; left = threading.local(); left.x = 1",
        f"import weakref\n{RECEIVER}left = weakref.WeakMethod(receiver.call)",
        f"import string, weakref\n{RECEIVER}left = weakref.WeakMethod(receiver.call, string.Formatter().format)",
        "import multiprocessing.resource_tracker",
    ],
)
def test_what_has_nothing_left_to_do_has_no_say(text: str) -> None:
    assert is_silent(text)


@pytest.mark.parametrize(
    "text",
    [
        "def open_ended():\n    try: yield\n    finally: print('end')\nleft = open_ended(); next(left)",
        "class Own:\n    def __iter__(self): return self\n    def __next__(self): return 1\n"
        "    def close(self): print('end')\n"
        "def through(): yield from Own()\nleft = through(); next(left)",
        "left = open('/dev/null', 'wb')",
        "left = open('/dev/null', 'w'); left.write('x')",
        "left = open('/proc/self/stat', 'rb', 0); import warnings; warnings.simplefilter('always')",
        "import warnings; warnings.filterwarnings('default', module='x'); left = open('/proc/self/stat', 'rb')",
        "import io\nclass Own(io.RawIOBase):\n    def readable(self): return True\nleft = io.BufferedReader(Own())",
        "import io; left = open('/proc/self/stat', 'rb'); raw = left.detach()",
        "import io\nclass Own(io.BytesIO):\n    def close(self): print('end')\nleft = Own()",
        f"import weakref\n{RECEIVER}left = weakref.WeakMethod(receiver.call, lambda _: print('end'))",
        f"import weakref\n{RECEIVER}left = weakref.ref(receiver, print)",
        "class Forward:\n    def __del__(self): print('end')\nleft = Forward()",
    ],
)
def test_what_may_still_say_something_is_left_to_cpython(text: str) -> None:
    assert not is_silent(text)


def module(name: str, file: str) -> ModuleType:
    made = ModuleType(name)
    made.__file__ = file
    return made


def test_c_ends_what_is_known_and_lies_in_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "is_silent", lambda _: True)  # of what these tests have made
    monkeypatch.setitem(sys.modules, "scipy", module("scipy", "/lib/scipy/__init__.py"))
    by_c = [].append
    known = {"scipy.a": module("scipy.a", "/lib/scipy/a.so"), "_bare": module("_bare", "/lib/scipy/x/_bare.so")}
    other = {"scipy_more": module("scipy_more", "/lib/scipy_more.so")}

    before = ending.Before(["sys"], {}, by_c)
    assert (before.is_simple, before.leave) == (True, os._exit)
    assert before.is_ended_by_c(known)  # a script has imported them
    assert before.leave is by_c
    assert not before.is_ended_by_c(known | other)
    assert not ending.Before(["sys"], known, os._exit).is_simple  # nobody knows how C ends
    assert not ending.Before(["sys"], other, by_c).is_simple
    before = ending.Before(["sys"], known, by_c)
    assert (before.is_simple, before.leave) == (True, by_c)
