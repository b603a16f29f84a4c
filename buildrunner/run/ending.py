"""How a script that was started warm ends: as CPython would end it, without taking the interpreter apart.

Taking it apart touches all memory that the child shares with its worker, which costs more than a short script does.
Nobody can tell whether it was done where nothing is left that has a say in it: no second thread, no object with a
finalizer, no weak reference that calls somebody back, no library that writes through streams of its own. Then threads
are joined, `atexit` is called and streams are flushed, in the order of CPython's `Py_FinalizeEx` (pylifecycle.c), and
that is all. Otherwise CPython does it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the signal module without its enums
import _thread
import atexit
import builtins
import gc
import os
import sys

from buildrunner.run.attempt import Newborn
from buildrunner.run.hidden import hidden
from buildrunner.run.leftover import is_silent

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

# A script may put others in the place of what is built in, or in a module: what is below goes on with these.
globals()["__builtins__"] = dict(vars(builtins))
_count_threads, _run_exitfuncs = _thread._count, atexit._run_exitfuncs
_monitoring: Any = getattr(sys, "monitoring", None)  # since Python 3.12
_Module = type(sys)
_namespace = vars(_Module)["__dict__"].__get__

_ERROR = 1
_BEYOND = 1 << 31  # what an exit code cannot be
_IS_STRICT = sys.version_info >= (3, 12)  # from then on nothing may begin that CPython would have to wait for
# Modules of the standard library's own that write through C's streams, or to a terminal or a database, at their end.
_WITH_MORE_TO_DO = {
    "_ctypes", "_curses", "_curses_panel", "_dbm", "_gdbm", "readline", "_sqlite3", "_testcapi", "_testinternalcapi",
    "_tkinter", "_xxsubinterpreters", "_interpreters",
}  # fmt: skip
# What these have left to do, `exit` does: write out C's streams, call what C and C++ have registered. None of them asks
# CPython to call it at the end (`Py_AtExit`), their objects hold nothing that would be lost, and what they do when an
# object of theirs goes is to forget it.
_ENDED_BY_C = ("_ctypes", "numpy", "scipy", "pandas", "sklearn", "matplotlib", "contourpy", "kiwisolver", "PIL")


class _Look:
    """Says whether something traces, profiles or monitors, without a call that it would be told of."""

    __pos__: Any = sys.gettrace
    __neg__: Any = sys.getprofile
    __invert__: Any = getattr(_monitoring, "_all_events", dict)


_LOOK = _Look()


class Before:
    """What was there when a script began: what has been added since is the script's."""

    def __init__(self, modules: list[str], preloaded: Mapping[str, object], leave: Callable[[int], object]) -> None:
        """`preloaded` are those of the modules that Python did not need to start.

        `leave` ends a process as C does; it is `os._exit` where that is not known how.
        """
        self.modules = frozenset(modules)
        self.count, self.last = len(modules), modules[-1]
        self.streams = sys.stdout, sys.stderr
        self.library = os.path.dirname(os.__file__) + "/"
        self.extensions = self.library + "lib-dynload/"
        self.exit = leave
        self.leave: Callable[[int], object] = os._exit
        # All that is there before modules are preloaded has been frozen.
        self.is_simple = self.is_ended_by_c(preloaded) and is_silent((self.library, *known_folders()))

    def is_ended_by_c(self, modules: Mapping[str, object]) -> bool:
        """Whether these have nothing left to do that C's own `exit` would not do; that is how to leave from then on."""
        more = [(name, file) for name, module in modules.items() if (file := self.foreign(name, module)) is not None]
        if not more:
            return True
        self.leave = self.exit
        known = known_folders()
        return self.exit is not os._exit and all(name in _ENDED_BY_C or file.startswith(known) for name, file in more)

    def foreign(self, name: str, module: object) -> str | None:
        """Where this lies, or nowhere, if it is a library that writes past Python's own streams, or may."""
        file = _namespace(module).get("__file__") if issubclass(type(module), _Module) else None
        if isinstance(file, str) and file.endswith(".so") and not file.startswith(self.extensions):
            return file
        return "" if name in _WITH_MORE_TO_DO else None


def known_folders() -> tuple[str, ...]:
    """Where those libraries lie of which `_ENDED_BY_C` knows the end, as far as they have been imported."""
    modules = [sys.modules.get(name) for name in _ENDED_BY_C]
    files = [_namespace(module).get("__file__") for module in modules if issubclass(type(module), _Module)]
    return tuple(file[:-11] for file in files if isinstance(file, str) and file.endswith("/__init__.py"))


@hidden
def end(left: list[Any], before: Before) -> SystemExit | None:
    """Do all that is to be done after the last line of a script, of which these are left: its namespace, and its error.

    Where it returns, CPython is to do the rest: with the exit code of what it returns, or as after an error that has
    been told. Where something is left in the list that rest is all.
    """
    space, error = left
    is_traced = +_LOOK or -_LOOK or ~_LOOK
    if is_traced and _IS_STRICT:  # it could not be called with a frame that nobody sees, and fail where that is seen
        sys.settrace(None)
        sys.setprofile(None)
        for tool in range(6):
            if _monitoring.get_tool(tool) is not None:
                _monitoring.set_events(tool, 0)
        is_traced = None
    if not is_traced:
        left.clear()
        flush_io()
    interrupted = type(error) is KeyboardInterrupt
    last: SystemExit | None = None
    code: Any = 0
    if isinstance(error, SystemExit):
        last = error
        code = error.code if type(error) is SystemExit else error
    else:
        if error is not None:
            code = last = report(error)
        for name in ("__file__", "__cached__"):  # as it does when its program has not called for the end by itself
            if name in space:
                del space[name]
        if error is None:
            last = SystemExit(0)
        elif last is None:
            code = _ERROR
    is_plain = not is_traced and (code is None or isinstance(code, int)) and -_BEYOND <= (code or 0) < _BEYOND
    # Before CPython ends by a SystemExit it flushes C's streams, which otherwise come last.
    if is_plain and (error is None or is_simple(before)) and finish(before):
        if interrupted:
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
            os.kill(os.getpid(), _signal.SIGINT)
        before.leave((code or 0) & 0xFF)
    error = space = None
    if is_traced:
        left[0] = left[1] = None
    elif interrupted:
        try:
            exec("raise KeyboardInterrupt", {})  # of a text CPython remembers it, and ends by that signal
        except KeyboardInterrupt:
            pass
    return last


@hidden
def flush_io() -> None:
    """Write out what was printed, as CPython does after a program's last line."""
    for name in ("stderr", "stdout"):
        try:
            getattr(sys, name).flush()
        except BaseException:
            pass


@hidden
def report(error: BaseException) -> SystemExit | None:
    """Do with an exception that nobody caught what `PyErr_Print` does with it; returns what that ended with, if so."""
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__
    second: BaseException | None = None
    try:
        hook = sys.excepthook
    except AttributeError:
        write("sys.excepthook is missing\n")
        display(error)
        return None
    try:
        hook(type(error), error, error.__traceback__)
    except BaseException as exc:
        second = exc
    if isinstance(second, SystemExit):
        return second
    if second is not None:
        write("Error in sys.excepthook:\n")
        display(second)
        write("\nOriginal exception was:\n")
        display(error)
    return None


@hidden
def display(error: BaseException) -> None:
    """Show an exception as Python does by itself."""
    sys.__excepthook__(type(error), error, error.__traceback__)


@hidden
def write(text: str) -> None:
    """Say something to whoever reads the script's errors, if it can be said."""
    try:
        sys.stderr.write(text)
    except BaseException:
        pass


@hidden
def finish(before: Before) -> bool:
    """Do all that comes before the interpreter would be taken apart; returns whether that can be left."""
    try:
        threading = sys.modules.get("threading")
        if _IS_STRICT and (_count_threads() or atexit._ncallbacks() or getattr(threading, "_threading_atexits", None)):
            return False
        if threading is not None:
            threading._shutdown()
        threading = None
        _run_exitfuncs()
    except BaseException:  # CPython tells it when it tries once more
        return False
    return flush(before) and not (+_LOOK or -_LOOK or ~_LOOK) and nothing_is_left(before)


def nothing_is_left(before: Before) -> bool:
    """Whether nothing would come of taking everything apart; not if that cannot be said."""
    try:
        # A newborn is there since the script's birth, unless the script has frozen the collector.
        return is_simple(before) and is_silent((before.library, *known_folders()), Newborn)
    except BaseException:
        return False


def is_simple(before: Before) -> bool:
    """Whether there is one thread, the streams are those that were there, and no library has more to do."""
    now = vars(sys)
    modules = now.get("modules")
    if _count_threads() or not are_there(before, now) or type(modules) is not dict:
        return False
    if gc.callbacks or gc.get_debug():
        return False
    if len(modules) == before.count and next(reversed(modules)) == before.last:
        return before.is_simple
    added = {name: modules[name] for name in modules.keys() - before.modules}
    return before.is_simple and before.is_ended_by_c(added)


def are_there(before: Before, now: Mapping[str, object]) -> bool:
    """Whether what a script prints still goes through the streams that it found."""
    out, err = before.streams
    return now.get("stdout") is out and now.get("stderr") is err


@hidden
def flush(before: Before) -> bool:
    """Write out what the script printed; False where that fails, or goes another way: that is for CPython."""
    if not are_there(before, vars(sys)):
        return False
    for stream in before.streams:
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except BaseException:
            return False
    return True
