"""How a script that was started warm ends: as CPython would end it, without taking the interpreter apart.

Taking it apart touches all memory that the child shares with its worker, which costs more than a short script does.
Nobody can tell whether it was done where nothing is left that has a say in it: no second thread, no object with a
finalizer, no weak reference that calls somebody back, no library that writes through streams of its own. Then threads
are joined, `atexit` is called and streams are flushed, in the order of CPython's `Py_FinalizeEx` (pylifecycle.c), and
that is all. Otherwise CPython does it.
"""

from __future__ import annotations

import _io
import _signal  # type: ignore[import-not-found]  # the signal module without its enums
import _thread
import _warnings
import atexit
import gc
import os
import sys
from _weakref import ref

from buildrunner.run.hidden import hidden

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_ERROR = 1
_BEYOND = 1 << 31  # what an exit code cannot be
_COLLECTED = 1 << 14  # of a type's flags: its instances are known to the garbage collector (Py_TPFLAGS_HAVE_GC)
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
    """Says whether something traces or profiles, without a call that it would be told of."""

    __pos__: Any = sys.gettrace
    __neg__: Any = sys.getprofile


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
        file = vars(module).get("__file__") if isinstance(module, type(sys)) else None
        if isinstance(file, str) and file.endswith(".so") and not file.startswith(self.extensions):
            return file
        return "" if name in _WITH_MORE_TO_DO else None


def known_folders() -> tuple[str, ...]:
    """Where those libraries lie of which `_ENDED_BY_C` knows the end, as far as they have been imported."""
    modules = [sys.modules.get(name) for name in _ENDED_BY_C]
    files = [vars(module).get("__file__") for module in modules if isinstance(module, type(sys))]
    return tuple(file[:-11] for file in files if isinstance(file, str) and file.endswith("/__init__.py"))


@hidden
def end(left: list[Any], before: Before) -> SystemExit | None:
    """Do all that is to be done after the last line of a script, of which these are left: its namespace, and its error.

    Where it returns, CPython is to do the rest: with the exit code of what it returns, or as after an error that has
    been told. Where something is left in the list that rest is all.
    """
    space, error = left
    is_traced = +_LOOK or -_LOOK
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
            exec("raise KeyboardInterrupt")  # of a text CPython remembers it, and ends by that signal
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
        if (threading := sys.modules.get("threading")) is not None:
            threading._shutdown()
        threading = None
        atexit._run_exitfuncs()
    except BaseException:  # CPython tells it when it tries once more
        return False
    return (
        flush(before) and not (+_LOOK or -_LOOK) and is_simple(before) and is_silent((before.library, *known_folders()))
    )


def is_simple(before: Before) -> bool:
    """Whether there is one thread, the streams are those that were there, and no library has more to do."""
    now = vars(sys)
    if _thread._count() or before.streams != (now.get("stdout"), now.get("stderr")) or type(sys.modules) is not dict:
        return False
    if gc.callbacks or gc.get_debug():
        return False
    if len(sys.modules) == before.count and next(reversed(sys.modules)) == before.last:
        return before.is_simple
    added = {name: sys.modules[name] for name in sys.modules.keys() - before.modules}
    return before.is_simple and before.is_ended_by_c(added)


def is_silent(folders: tuple[str, ...]) -> bool:
    """Whether no object has a say when it goes: of all that was made since the garbage collector was frozen.

    Calls of weak references that belong to a library in one of these folders only tidy up what goes as well.
    """
    objects = gc.get_objects()
    kinds = set(map(type, objects))
    for kind in kinds:
        if any("__del__" in vars(base) for base in kind.__mro__) and not has_quiet(kind, objects):
            return False
    if type in kinds:  # classes were made; of instances that the collector does not know only these tell
        for kind in objects:
            if isinstance(kind, type) and not kind.__flags__ & _COLLECTED and "__del__" in vars(kind):
                return False
    if any(issubclass(kind, ref) for kind in kinds):
        for weak in objects:
            if isinstance(weak, ref) and (callback := weak.__callback__) is not None:
                if is_housekeeping(callback):
                    continue
                if not all(belongs(one, folders) for one in [callback, *passed_on(callback)]):
                    return False
    return True


def is_housekeeping(callback: Any) -> bool:
    """Whether this is C's own: abc forgets a class, a thread its variables, pybind11 what it knew of a type."""
    owner = getattr(callback, "__self__", None)
    kind = type(owner)
    if owner is None or type(callback) is not type(len):
        return False
    if issubclass(kind, ref):
        return callback.__name__ in ("_destroy", "_localdummy_destroyed")
    if kind is tuple:
        return bool(callback.__name__ == "clear_locals")  # from CPython 3.13 on
    return callback.__name__ == "" and (kind.__name__ == "PyCapsule" or kind.__module__ == "pybind11_builtins")


def belongs(function: object, folders: tuple[str, ...]) -> bool:
    """Whether this was written in one of these folders."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename.startswith(folders)


def passed_on(callback: object) -> list[object]:
    """What it calls in its turn, as `WeakMethod` does with what it was given."""
    cells = [cell.cell_contents for cell in getattr(callback, "__closure__", None) or ()]
    return [one for one in cells if callable(one) and not isinstance(one, ref)]


def has_quiet(kind: type, objects: list[Any]) -> bool:
    """Whether all of these objects that are of this kind, which has a finalizer, have nothing left to finalize."""
    if kind in _QUIET:
        try:
            return all(_QUIET[kind](one) for one in objects if type(one) is kind)
        except ValueError:  # what was behind a stream has been taken from it
            return False
    module = sys.modules.get(kind.__module__)
    if kind.__qualname__ == "Forward" and kind.__module__.endswith("pyparsing.core"):  # as in matplotlib's formulas
        return getattr(getattr(module, "__diag__", None), "warn_on_assignment_to_Forward", None) is False
    if kind.__qualname__ == "ResourceTracker" and kind.__module__.endswith(".resource_tracker"):
        return all(vars(one).get("_fd", 0) is None for one in objects if type(one) is kind)  # it has not begun
    return False


def is_idle(generator: Any) -> bool:
    """Whether it does not stand where a `try`, a `with` or another generator would be left."""
    if not generator.gi_suspended:
        return True
    return not generator.gi_code.co_exceptiontable and generator.gi_yieldfrom is None


def is_done(file: Any) -> bool:
    """Whether a file is closed, or was read only and nobody is told that it was left open."""
    return file.closed or (file.mode == "rb" and ignores_open_files())


def ignores_open_files() -> bool:
    """Whether Python says nothing of files that are not closed, as it does unless it was told otherwise."""
    filters = getattr(sys.modules.get("warnings", _warnings), "filters", ())
    for action, message, category, module, line in filters:
        if issubclass(ResourceWarning, category):
            if action != "ignore":
                return False
            if message is None and module is None and not line:
                return True
    return False


# Of objects with finalizers in C, of exactly these types: whether there is nothing left to do.
_QUIET: dict[type, Callable[[Any], bool]] = {
    type((lambda: (yield))()): is_idle,
    _io.BytesIO: lambda _: True,
    _io.StringIO: lambda _: True,
    _io.FileIO: is_done,
    _io.BufferedReader: lambda stream: type(stream.raw) in (_io.FileIO, _io.BytesIO),
    _io.BufferedWriter: lambda stream: type(stream.raw) is _io.FileIO and stream.raw.closed,
    _io.TextIOWrapper: lambda text: type(text.buffer) in (_io.BufferedReader, _io.BufferedWriter) and text.closed,
}


@hidden
def flush(before: Before) -> bool:
    """Write out what the script printed; False where that fails, or goes another way: that is for CPython."""
    now = vars(sys)
    for stream, name in zip(before.streams, ("stdout", "stderr"), strict=True):
        if now.get(name) is not stream:
            return False
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except BaseException:
            return False
    return True
