"""The program of a warm worker: as worker.py, but scripts of its own Python are forks of it and not started anew.

It is started as every script is, by `python warm.py` with the scripts' environment: what Python is when it gets here is
what a script finds. Where a Python cannot be shared it says why on its standard error and ends with UNFIT, before it
has taken anything from its queue; the server then starts an ordinary worker in its place.

    0 /dev/null   1, 2 files, as a script's logs   3 the queue, both ways
    python warm.py ROOM PYTHON [WHERE MODULE...]
"""

import sys  # and nothing else before this is written down, not even from __future__

_START = list(sys.modules), dict(sys.path_importer_cache), list(sys.path), dict(globals()), sys.excepthook

_parts: "list[Any]" = []

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from typing import Any, NoReturn

UNFIT = 76
"""The exit code of a warm worker whose Python cannot be shared."""

FIT = "only CPython 3.11 and later can be warm"
"""Which Python can be shared."""

QUEUE = 3
"""Its descriptor."""

ELSEWHERE = "elsewhere"
"""Stands before the names of modules to import for all scripts where these run in folders of their own."""

_UNLIKE = (
    "PYTHONDUMPREFS", "PYTHONDUMPREFSFILE", "PYTHONMALLOCSTATS", "PYTHONPERFSUPPORT", "PYTHON_PERF_JIT_SUPPORT",
    "PYTHONPROFILEIMPORTTIME", "PYTHONTRACEMALLOC",
)  # fmt: skip

_DIE_WITH_PARENT = 1  # prctl(2): PR_SET_PDEATHSIG
_DRAWING = "uuid", "multiprocessing.process", "numpy.random.mtrand"
_UNUSED = 624  # how far a generator of `random` is in its numbers before the first of them is drawn


def _unfit(why: str) -> "NoReturn":
    import os

    os.write(2, os.fsencode(why) + b"\n")
    os._exit(UNFIT)  # whatever Python is told to do when it ends


def _check() -> None:
    """End here where scripts would notice that Python was started before them."""
    import os

    if sys.version_info < (3, 11) or sys.implementation.name != "cpython":
        _unfit("{}, and this is {} {}.{}".format(FIT, sys.implementation.name, *sys.version_info[:2]))
    if sys.orig_argv[0] != sys.argv[2]:
        _unfit(f"{sys.argv[2]} is no Python itself but starts one, perhaps not the same for every script")
    flags = sys.flags
    if flags.inspect or flags.verbose or flags.debug or flags.dev_mode:
        _unfit("Python is told to inspect, to debug or to be verbose")
    for name in _UNLIKE:
        if os.environ.get(name):
            _unfit(f"{name} is set: it is about how Python starts")
    if sys.getfilesystemencoding() != "utf-8":
        _unfit("file names are not read as UTF-8")
    tools = getattr(sys, "monitoring", None)  # since Python 3.12
    if sys.gettrace() or sys.getprofile() or any(tools.get_tool(number) for number in range(6) if tools):
        _unfit("something traces, profiles or monitors Python from its start on")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if os.fstat(1).st_size or os.fstat(2).st_size:
        _unfit("Python says something when it starts")
    try:
        threads, files = len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
    except OSError as exc:
        _unfit(f"the system does not let Python use its own /proc/self ({exc.strerror})")
    if threads > 1:
        _unfit("Python has threads as soon as it starts")
    if files > 5:  # four, and the one of looking
        _unfit("Python opens files when it starts")


def _prepare() -> "Any":
    """Get a worker ready that no script will find, and return what is to be the bottom of every stack."""
    import gc
    import os

    names, finders, path, space, _ = _START  # as a script finds them
    finders.pop(__file__, None)
    restricted = sys.path[:] = _path_of_the_worker()
    from buildrunner.run import ending, fork, group, hidden, limits, worker  # noqa: F401

    if not hidden.is_hiding():
        _unfit("this Python shows who runs a script")
    if why := fork.why_not():
        _unfit(why)
    _look_back(names)
    kind = _warm_worker()
    where, *wanted = sys.argv[3:] or ("",)
    preload = _preloader(wanted, where == ELSEWHERE) if wanted else None
    gc.freeze()  # what is made from here on may have a say in how scripts end
    ours = _put_away(names)
    variables, renewals, leave = (), [], os._exit
    if preload:
        _look_where_scripts_do(path, finders)
        variables, renewals, leave = preload()
        finders = dict(sys.path_importer_cache)
    os.set_inheritable(QUEUE, False)
    modules = dict(sys.modules)
    sys.modules.update(ours)
    sys.path[:] = restricted

    main = {name: value for name, value in space.items() if name.startswith("__")}
    preloaded = {name: module for name, module in modules.items() if name not in names}
    fork.ForkSlot.original = fork.Original(main, modules, preloaded, finders, path, variables, renewals)
    spaces = [*map(vars, ours.values()), globals()]
    before = ending.Before(list(modules), preloaded, leave)
    _parts[:] = worker, kind, ending.end, spaces, gc, before
    return hidden.hidden(_live)


def _look_back(names: "list[str]") -> None:
    """End here where what was run as Python started may have taken what each script has to take for itself.

    That is told by what it left: `site` had done it before anybody could watch. The library's own folder is filled by
    whoever made this Python; Debian puts a sitecustomize there.
    """
    import os

    for name in ("sitecustomize", "usercustomize"):
        file = getattr(sys.modules.get(name), "__file__", None)
        if name in names and file and os.path.dirname(file) != os.path.dirname(os.__file__):
            _unfit(f"{file} is run when Python starts: what it does, it has to do for each script")
    for name in _DRAWING:
        if name in names:
            _unfit(f"something imports {name} when Python starts, and each script has to do that for itself")
    if "random" in names and _has_drawn(sys.modules["random"]):
        _unfit("something draws from random when Python starts, and each script has to do that for itself")
    with open("/proc/self/environ", "rb", buffering=0) as file:
        items = [item.partition(b"=")[::2] for item in reversed(file.read().split(b"\0")) if b"=" in item]
    given, now = dict(items), dict(os.environb)
    for variable in sorted(given.keys() | now.keys()):
        if given.get(variable) != now.get(variable) and variable != b"LC_CTYPE":  # that one Python itself sets
            _unfit(f"something changes {os.fsdecode(variable)} in the environment when Python starts")


def _has_drawn(random: "Any") -> bool:
    """Whether anybody has used the generator that each child seeds anew by itself, or has one of his own."""
    import gc

    try:
        own, kind, harmless = random._inst, random.Random, random.SystemRandom
        kinds = ((one, type(one)) for one in gc.get_objects())
        others = any(issubclass(of, kind) and not issubclass(of, harmless) and one is not own for one, of in kinds)
        return others or own.getstate()[1][-1] != _UNUSED
    except (AttributeError, TypeError):
        return True  # another module of that name


def _path_of_the_worker() -> "list[str]":
    """Where its own modules are found: the library and this package, and nothing that the environment names."""
    import os

    library = os.path.dirname(os.__file__)
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [library, library + "/lib-dynload", package]


def _warm_worker() -> "type[Any]":
    """The ordinary worker around a slot whose scripts are forks."""
    from buildrunner.run import fork, worker

    class WarmWorker(worker.Worker):
        slot_type = fork.ForkSlot
        queue = results = QUEUE
        time_enough = 0.0

    return WarmWorker


def _preloader(wanted: "list[str]", elsewhere: bool) -> "Any":
    """What imports the modules that all scripts are to find; all that it needs itself is imported here and now.

    It returns the variables of the environment that they read, the renewals they need in each child, and how a child
    then leaves. Where one of them cannot be had without harm the process ends, and another one begins without it.
    """
    import ctypes
    import os
    from _signal import SIGKILL  # type: ignore[import-not-found]  # the signal module without its enums
    from select import POLLHUP, poll

    from buildrunner.run import preload, wire

    libc = ctypes.PyDLL(None)
    queue = poll()
    queue.register(QUEUE, 0)

    def report(*told: "Any") -> None:
        wire.write_frame(QUEUE, ("preload", told))

    def import_all() -> "Any":
        # Who imports does not hear that the server is gone: let the kernel see to it, if it has not happened already.
        libc.prctl(_DIE_WITH_PARENT, SIGKILL)
        if any(event & POLLHUP for _, event in queue.poll(0)):
            os._exit(UNFIT)
        variables = preload.preload(wanted, elsewhere=elsewhere, flush=lambda: libc.fflush(None), report=report)
        if variables is None:
            os._exit(UNFIT)  # without any module's last words
        libc.prctl(_DIE_WITH_PARENT, 0)
        return variables, preload.renewals(sys.modules), libc.exit

    return import_all


def _put_away(names: "list[str]") -> "dict[str, Any]":
    """Take all modules but these out of Python's sight, and return them."""
    ours = {name: module for name, module in sys.modules.items() if name not in names}
    for name in ours:
        del sys.modules[name]
    return ours


def _look_where_scripts_do(path: "list[str]", finders: "dict[str, Any]") -> None:
    """Let imports find what they would find in a script, but for its own folder."""
    sys.path[:] = path if getattr(sys.flags, "safe_path", False) else path[1:]
    sys.path_importer_cache.clear()
    sys.path_importer_cache.update(finders)


def _live(*_: object) -> None:
    """The bottom of every stack in this process and its children: the worker's work, or what a child is to run."""
    sys.excepthook = _START[4]
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        if hasattr(sys, name):
            delattr(sys, name)
    newborn = error = None
    try:
        _parts[0].main(_parts[1])
    except _parts[0].attempt.Newborn as exc:
        newborn = exc
    if newborn is None:
        raise SystemExit(0)
    code, space = newborn.code, newborn.space
    newborn.code = newborn.space = None
    newborn.args = ()
    if newborn.is_told:
        _parts[5].is_simple = False
    _parts.append(newborn)  # to let go of the worker would touch all its memory
    newborn = None
    try:
        exec(code, space)
    except BaseException as exc:
        error = exc
    left, code, space, error = [space, error], None, None, None
    last = _parts[2](left, _parts[5])
    if not left:
        # CPython takes everything apart now, and nothing of ours shall hold anything that it looks at.
        _parts[4].unfreeze()
        for space in _parts[3]:
            space.clear()
    if last is not None:
        raise last


if __name__ == "__main__":
    _check()
    sys.excepthook = _prepare()
    # From here on no frame of this file may lie below those of a script: CPython calls the hook when all are gone.
    raise SystemError("a warm worker begins")
