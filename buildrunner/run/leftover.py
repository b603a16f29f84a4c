"""Whether an object that a script leaves has a say in its end: a finalizer with something to do, somebody to call.

The script's own objects are looked at, and none of them is asked: an answer of its own would be a line of the script
that runs once more. What is not known to be silent has a say.
"""

from __future__ import annotations

import _io
import _warnings
import builtins
import gc
import sys
from _weakref import ref

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# A script may put others in the place of what is built in, or in a module: what is below goes on with these.
globals()["__builtins__"] = dict(vars(builtins))
_get_objects = gc.get_objects
_namespace: Callable[[type], Any] = type.__dict__["__dict__"].__get__
_name: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_parents: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__
_callback: Callable[[Any], Any] = vars(ref)["__callback__"].__get__

_COLLECTED = 1 << 14  # of a type's flags: its instances are known to the garbage collector (Py_TPFLAGS_HAVE_GC)


class _Bound:
    def method(self) -> None: ...


_Function: Any = type(lambda: 0)
_Builtin: Any = type(len)
_Method: Any = type(_Bound().method)


def is_silent(folders: tuple[str, ...], mark: type | None = None) -> bool:
    """Whether no object has a say when it goes: of all that was made since the garbage collector was frozen.

    Calls of weak references that belong to a library in one of these folders only tidy up what goes as well. There must
    be an object of the type `mark`: where it is gone, the collector was frozen once more. May raise anything.
    """
    objects = _get_objects()
    types = list(map(type, objects))
    kinds = dict(zip(map(id, types), types, strict=True))  # by number: a type may have an idea of its own of equality
    if mark is not None and id(mark) not in kinds:
        return False
    for kind in kinds.values():
        if any("__del__" in _namespace(base) for base in _parents(kind)) and not _has_quiet(kind, objects):
            return False
    if id(type) in kinds:  # classes were made; of instances that the collector does not know only these tell
        for kind in objects:
            if issubclass(type(kind), type) and not _flags(kind) & _COLLECTED and "__del__" in _namespace(kind):
                return False
    if any(issubclass(kind, ref) for kind in kinds.values()):
        return all(_is_tidying(_callback(weak), folders) for weak in objects if issubclass(type(weak), ref))
    return True


def _is_tidying(callback: Any, folders: tuple[str, ...]) -> bool:
    """Whether the one who is called when an object goes only tidies up, or is nobody."""
    if callback is None:
        return True
    if type(callback) is _Builtin:
        return _is_of_c(callback)
    function = _function(callback)
    return _belongs(function, folders) and all(_belongs(_function(one), folders) for one in _passed_on(function))


def _is_of_c(callback: Any) -> bool:
    """Whether this is C's own: abc forgets a class, a thread its variables, pybind11 what it knew of a type."""
    kind = type(callback.__self__)
    if issubclass(kind, ref):
        return callback.__name__ in ("_destroy", "_localdummy_destroyed")
    if kind is tuple:
        return bool(callback.__name__ == "clear_locals")  # from CPython 3.13 on
    return callback.__name__ == "" and (_name(kind) == "PyCapsule" or _home(kind) == "pybind11_builtins")


def _function(callback: Any) -> Any:
    """What a method calls, or what it is itself."""
    return callback.__func__ if type(callback) is _Method else callback


def _belongs(function: Any, folders: tuple[str, ...]) -> bool:
    """Whether this was written in one of these folders."""
    return type(function) is _Function and function.__code__.co_filename.startswith(folders)


def _passed_on(function: Any) -> list[object]:
    """What it calls in its turn, as `WeakMethod` does with what it was given."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return [one for one in cells if callable(one) and not issubclass(type(one), ref)]


def _home(kind: type) -> str:
    """Of which module a type says that it is."""
    home = _namespace(kind).get("__module__")
    return home if type(home) is str else ""


def _has_quiet(kind: type, objects: list[Any]) -> bool:
    """Whether all of these objects that are of this kind, which has a finalizer, have nothing left to finalize."""
    if (look := _QUIET.get(id(kind))) is not None:
        return all(look(one) for one in objects if type(one) is kind)
    home = _home(kind)
    if _name(kind) == "Forward" and home.endswith("pyparsing.core"):  # as in matplotlib's formulas
        diagnostics = getattr(sys.modules.get(home), "__diag__", None)
        return getattr(diagnostics, "warn_on_assignment_to_Forward", None) is False
    if _name(kind) == "ResourceTracker" and home.endswith(".resource_tracker"):
        return all(vars(one).get("_fd", 0) is None for one in objects if type(one) is kind)  # it has not begun
    return False


def _is_idle(generator: Any) -> bool:
    """Whether it does not stand where a `try`, a `with` or another generator would be left."""
    if not generator.gi_suspended:
        return True
    return not generator.gi_code.co_exceptiontable and generator.gi_yieldfrom is None


def _is_done(file: Any) -> bool:
    """Whether a file is closed, or was read only and nobody is told that it was left open."""
    return file.closed or (file.mode == "rb" and _ignores_open_files())


def _ignores_open_files() -> bool:
    """Whether Python says nothing of files that are not closed, as it does unless it was told otherwise."""
    filters = getattr(sys.modules.get("warnings", _warnings), "filters", ())
    for action, message, category, module, line in filters:
        if issubclass(ResourceWarning, category):
            if action != "ignore":
                return False
            if message is None and module is None and not line:
                return True
    return False


# Of objects with finalizers in C, of exactly these types, by their number: whether there is nothing left to do.
_QUIET: dict[int, Callable[[Any], bool]] = {
    id(type((lambda: (yield))())): _is_idle,
    id(_io.BytesIO): lambda _: True,
    id(_io.StringIO): lambda _: True,
    id(_io.FileIO): _is_done,
    id(_io.BufferedReader): lambda stream: type(stream.raw) in (_io.FileIO, _io.BytesIO),
    id(_io.BufferedWriter): lambda stream: type(stream.raw) is _io.FileIO and stream.raw.closed,
    id(_io.TextIOWrapper): lambda text: type(text.buffer) in (_io.BufferedReader, _io.BufferedWriter) and text.closed,
}
