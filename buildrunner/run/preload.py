"""Importing modules for scripts before they begin, and finding out which of them a fork would not survive.

It happens as in a script: with the script's own `sys.path` but for its folder, and with no module of ours to be seen.
What was imported cannot be taken back. So each module is looked at as soon as it is there, and where it left something
that is one process's alone, or took something that each script has to take for itself, this worker must end; the next
one leaves that module out.

Not to be seen: what a compiled library draws from the system without a call from Python; which files are asked for by
names relative to the working folder, as a call of C does not show its arguments.
"""

from __future__ import annotations

import _locale
import _signal  # type: ignore[import-not-found]  # the signal module without its enums
import builtins
import gc
import os
import sys
import time

from buildrunner.run.standing import standing

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType
    from typing import Any

LONGEST = 60
"""Seconds that an import may take; then SIGALRM ends this process."""

ELSEWHERE = "looks where it runs, and scripts run elsewhere"
"""What is said of an import that would go well if scripts ran where their workers do."""

WRITES = "writes to a file or another process"
"""What is said of an import that did."""

_OF_LIBC = 3 << 31  # signals 32 and 33, by which it speaks to threads
_ENDING = 1.0  # seconds in which a thread that has been joined is gone for the kernel too
_FORKS = "which a fork would not have"
_ALIKE = "which would be the same for every script"
_LOOKS_AT_ITSELF = "looks at its own process in /proc, and every script is another one"
_ITSELF = ("/proc/self", "/proc/thread-self")
_CALLS = {
    **dict.fromkeys(("urandom", "getrandom"), ("posix", f"draws from the system's randomness, {_ALIKE}")),
    **dict.fromkeys(
        ("getpid", "getppid", "getpgid", "getpgrp", "getsid"),
        ("posix", f"takes down the number of a process, {_ALIKE}"),
    ),
    "get_native_id": ("_thread", f"takes down the number of a thread, {_ALIKE}"),
    **dict.fromkeys(("open", "stat", "lstat", "access", "readlink", "listdir", "scandir"), ("", _LOOKS_AT_ITSELF)),
    **dict.fromkeys(
        ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"),
        ("time", f"reads the clock, {_ALIKE}"),
    ),
    **dict.fromkeys(("now", "utcnow", "today"), (None, f"reads the clock, {_ALIKE}")),
    "getcwd": ("posix", ELSEWHERE),
}
_OF_AN_ATTEMPT = {f"BUILDRUNNER_{name}" for name in ("ATTEMPT_ID", "ATTEMPT_NUMBER", "JOB_NAME", "OUTPUT_DIR")}
# What these take at import is taken again in each child. `random` seeds itself after a fork, and the heap asks at each
# use whether it is in the process that made it; the others are renewed by what `renewals` returns.
_RENEWED = ("random", "multiprocessing.heap", "logging", "multiprocessing.process", "numpy.random", "threading")
# The same of modules that differ from version to version; `_KNOWN` says of which it is true.
_RENEWED_IF_KNOWN = ("joblib._multiprocessing_helpers", "numpy.f2py.rules", "numpy.testing._private.utils")
# Bytes that an import writes and that are gone when it is done. To see whether there can be semaphores joblib makes
# one and takes its name away at once; C's library writes it into a new file first, all 32 bytes of it.
_GONE = {"joblib._multiprocessing_helpers": 32}


class _Arguments(list):  # type: ignore[type-arg]
    """`sys.argv`, which is another one in every script; notes whether anybody looks at it."""

    was_read = False

    def __getitem__(self, key: Any) -> Any:
        self.was_read = True
        return super().__getitem__(key)

    def __iter__(self) -> Any:
        self.was_read = True
        return super().__iter__()

    def __len__(self) -> int:
        self.was_read = True
        return super().__len__()


# What a script has in its `__main__` when it begins, and no other script has alike.
_OF_A_SCRIPT = {"__dict__", "__file__", "__cached__", "__doc__", "__loader__", "__annotations__"}


class _Main(type(sys)):  # type: ignore[misc]
    """Stands in for `__main__`, which is another one in every script; notes whether anybody looks into it."""

    was_read = False

    def __getattribute__(self, name: str) -> Any:
        # `inspect` goes through all modules to find whose a frame is; whether it gets to the script a frame shows.
        if name in _OF_A_SCRIPT and sys._getframe(1).f_globals.get("__name__") != "inspect":
            _Main.was_read = True
        return super().__getattribute__(name)


class _Variables(dict):  # type: ignore[type-arg]
    """What is behind `os.environ`; notes which variables are read."""

    def __init__(self, variables: dict[bytes, bytes]) -> None:
        super().__init__(variables)
        self.read: set[str] = set()

    def __getitem__(self, name: Any) -> Any:
        self.read.add(os.fsdecode(name))
        return super().__getitem__(name)


class _Witness:
    """Is called at every call during an import, and notes those whose result would be shared by all scripts."""

    def __init__(self, *, elsewhere: bool) -> None:
        self.elsewhere = elsewhere
        self.seen: list[str] = []
        self.passed: list[tuple[str, str]] = []  # by modules whose version has to be looked at, and what
        self.variables: set[str] = set()  # of the environment that were read
        self.states: dict[str, Any] = {}  # of global generators, as they were when they were made

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_call":
            if what := self._noteworthy(frame, arg):
                self._note(frame, what)
        elif event == "return" and frame.f_code.co_name == "<module>":
            name = frame.f_globals.get("__name__")
            if name in _GENERATORS:
                self.states[name] = _GENERATORS[name]()

    def _noteworthy(self, frame: FrameType, called: Any) -> str | None:
        if frame.f_code.co_name == "seed" and frame.f_globals.get("__name__") == "random":
            return _CALLS["urandom"][1] if frame.f_locals.get("a", 0) is None else None
        name = getattr(called, "__name__", "")
        if name not in _CALLS or (name == "getcwd" and not self.elsewhere):
            return None
        module, what = _CALLS[name]
        if what is _LOOKS_AT_ITSELF:
            return what if _names_itself(frame) else None
        if module is None:
            return what if isinstance(getattr(called, "__self__", None), type) else None  # datetime's
        return what if getattr(called, "__module__", None) == module else None

    def _note(self, frame: FrameType | None, what: str) -> None:
        """Somebody called what is to be noted: whoever's import that is a part of."""
        while frame is not None and frame.f_code.co_name != "<module>" and frame.f_code is not _stand_below.__code__:
            frame = frame.f_back
        who = frame.f_globals.get("__name__", "") if frame else ""
        if who in _RENEWED_IF_KNOWN:
            self.passed.append((who, what))
        elif not any(who == name or who.startswith(name + ".") for name in _RENEWED):
            self.seen.append(what)

    def took(self) -> str | None:
        """What was taken that scripts would share, in words."""
        more = [what for who, what in self.passed if not _is_known(who)]
        return next(iter(self.seen + more), None)

    def draws(self) -> bool:
        """Whether somebody has used a global generator, which is seeded anew in every child."""
        return any(_GENERATORS[name]() != state for name, state in self.states.items())


def _names_itself(frame: FrameType) -> bool:
    """Whether a function that is about to ask for a file knows a name in /proc of the process itself.

    Which name it asks by is not to be seen. What finds modules is left aside: it asks often, and for nothing else.
    """
    if frame.f_code.co_filename == "<frozen importlib._bootstrap_external>":
        return False
    for value in (*frame.f_code.co_consts, *frame.f_locals.values()):
        if type(value) is not str and getattr(type(value), "__module__", "").startswith("pathlib"):
            value = str(value)
        if type(value) is str and value.startswith(_ITSELF):
            return True
    return False


def _state_of_random() -> Any:
    return sys.modules["random"]._inst.getstate()


def _state_of_numpy() -> Any:
    state = sys.modules["numpy.random.mtrand"]._rand.get_state(legacy=False)
    return repr({**state, "state": {name: getattr(v, "tolist", lambda v=v: v)() for name, v in state["state"].items()}})


_GENERATORS: dict[str, Callable[[], Any]] = {"random": _state_of_random, "numpy.random": _state_of_numpy}


def preload(
    names: list[str], *, elsewhere: bool, flush: Callable[[], object], report: Callable[..., None]
) -> set[str] | None:
    """Import these modules, one after another; None as soon as one of them cannot stay.

    `a:b` stands for `from a import b`. `elsewhere`: scripts run in other folders than this process; then modules are
    imported in the root folder, where they find no file of this one's. `flush` writes out what C has buffered. `report`
    is called with a module's name before it is imported, where it may lie being its last argument, and again with what
    was found: the seconds that took, why it is left out, the names of all that came with it, and where it lies. Returns
    the names of the variables of the environment that imports have read.
    """
    main, argv, original = sys.modules["__main__"], sys.argv, sys.orig_argv
    bytecode = sys.dont_write_bytecode
    witness = _Witness(elsewhere=elsewhere)
    sys.dont_write_bytecode = True  # so that what is written is the module's own doing
    home = os.open(".", os.O_PATH)
    if elsewhere:
        os.chdir("/")
    try:
        return witness.variables if all(_import(name, witness, flush, report) for name in names) else None
    finally:
        os.fchdir(home)
        os.close(home)
        sys.dont_write_bytecode = bytecode
        sys.modules["__main__"], sys.argv, sys.orig_argv = main, argv, original


def _import(name: str, witness: _Witness, flush: Callable[[], object], report: Callable[..., None]) -> bool:
    module, _, part = name.partition(":")
    report(name, None, None, (), _place(module))
    _Main.was_read = False
    stand_in = sys.modules["__main__"] = _Main("__main__")
    sys.argv = arguments = _Arguments([""])
    sys.orig_argv = words = _Arguments(sys.orig_argv[:1])
    held = sys.getrefcount(stand_in), sys.getrefcount(arguments), sys.getrefcount(words)
    pid, modules, before = os.getpid(), set(sys.modules), _look(flush)
    kept: Any = os.environ
    behind, kept._data = kept._data, _Variables(kept._data)
    variables, os.environb._data = kept._data, kept._data  # type: ignore[attr-defined]
    _signal.alarm(LONGEST)
    began = time.perf_counter()
    failed, is_own, was_reached = _stand_below(module, part, witness)
    if os.getpid() != pid:
        os._exit(0)  # a process that the module made, and let run on
    seconds = time.perf_counter() - began
    behind.clear()
    behind.update(variables)
    kept._data = os.environb._data = behind  # type: ignore[attr-defined]
    witness.variables |= variables.read
    _signal.alarm(0)
    if failed and modules == set(sys.modules) and _differing(before, _look(flush)) is None:
        report(name, seconds, failed)
        return True
    before[WRITES] += sum(count for other, count in _GONE.items() if other not in modules and _is_known(other))
    why = failed or _differing(before, _look(flush))
    if why is None and not is_own:
        why = "its import traces or profiles Python"
    if why is None and (took := witness.took()):
        why = f"its import {took}"
    if why is None and not variables.read.isdisjoint(_OF_AN_ATTEMPT):
        why = f"its import reads {min(variables.read & _OF_AN_ATTEMPT)}, which every script has its own of"
    if why is None and witness.draws():
        why = "its import uses a global generator of random numbers, which is seeded anew in every script"
    if why is None and was_reached:
        why = "its import looks down the stack to see who imports it, which every script does for itself"
    if why is None and (arguments.was_read or words.was_read):
        why = "its import looks at the command line, which every script has its own of"
    if sys.modules.get("__mp_main__") is stand_in:
        sys.modules["__mp_main__"] = type(sys)("__main__")  # multiprocessing's own name for it: see `renewals`
    if why is None and (sys.getrefcount(stand_in), sys.getrefcount(arguments), sys.getrefcount(words)) != held:
        why = "its import keeps hold of the script or its command line, and every script has its own"
    if why is None and _Main.was_read:
        why = "its import looks into __main__, which every script has its own of"
    brings = {other.partition(".")[0] for other in sys.modules.keys() - modules}.difference(sys.builtin_module_names)
    file = getattr(sys.modules.get(module), "__file__", None)
    report(name, seconds, why, sorted(brings), file if isinstance(file, str) else None)
    return why is None


def _place(module: str) -> str | None:
    """The file that a module's outermost package would be imported from, as far as it is an ordinary one."""
    try:
        spec: Any = sys.modules["_frozen_importlib_external"].PathFinder.find_spec(module.partition(".")[0])
        return spec.origin if isinstance(spec.origin, str) else None
    except Exception:  # there is none, or what looks for it is not Python's own
        return None


def _stand_below(module: str, part: str, witness: _Witness) -> tuple[str | None, bool, bool]:
    """Import it before the eyes of the witness: why that failed, if it did, and what `_end` returns.

    This function's frame is where a script's would be. CPython makes the object of a frame when somebody asks for it,
    and so it can be told whether somebody did. That must not happen by itself: nothing here calls a function of C's,
    which the witness would be shown with this frame.
    """
    failed = None
    imports = map(__import__, (module,), (None,), (None,), ([part] if part else [],))
    _begin(witness)
    try:
        for _ in imports:
            pass
    except BaseException as exc:
        failed = _in_words(exc)
    return failed, *_end(witness)


def _in_words(error: BaseException) -> str:
    return f"it cannot be imported: {type(error).__name__}: {error}".rstrip(": ").splitlines()[0]


def _begin(witness: _Witness) -> None:
    sys.setprofile(witness)


def _end(witness: _Witness) -> tuple[bool, bool]:
    """Whether the witness was left alone, and whether somebody has asked for the frame that calls this.

    We ask for it twice: the second time shows how many blocks of memory go into the asking itself. Where Python does
    not count them, as with PYTHONMALLOC=malloc, it cannot be told.
    """
    is_own = sys.getprofile() is witness
    sys.setprofile(None)
    first = sys.getallocatedblocks()
    sys._getframe(1)
    second = sys.getallocatedblocks()
    sys._getframe(1)
    third = sys.getallocatedblocks()
    return is_own, first > 0 and second - first == third - second


def _look(flush: Callable[[], object]) -> dict[str, Any]:
    """What one process has to itself and an import may change, by what is to be said when it has."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    flush()
    status = dict(line.split(":\t", 1) for line in _read("/proc/self/status").splitlines() if ":\t" in line)
    return {
        "prints": [os.fstat(number).st_size for number in (1, 2)],
        f"leaves a thread running, {_FORKS}": _threads(),
        f"leaves a process running, {_FORKS}": _has_children(),
        "leaves open": _open(),
        WRITES: int(_read("/proc/self/io").partition("wchar: ")[2].partition("\n")[0] or 0),
        "shares memory with other processes": [
            line for line in _read("/proc/self/maps").splitlines() if line.split(None, 2)[1].startswith("rw-s")
        ],
        "changes what signals do": (
            [_signal.getsignal(number) for number in _signal.valid_signals()],
            [int(status.get(name, "0"), 16) & ~_OF_LIBC for name in ("SigBlk", "SigIgn", "SigCgt")],
            [_signal.getitimer(which) for which in (_signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)],
        ),
        "changes limits, priority, umask or working folder": (standing(), status.get("Umask"), os.getcwd()),
        "changes sys.path": list(sys.path),
        "changes how Python shows things or reports errors": [
            vars(sys).get(name)
            for name in ("stdout", "stderr", "stdin", "excepthook", "displayhook", "unraisablehook", "breakpointhook")
        ],
        "traces or profiles Python": sys.gettrace(),
        "changes settings of Python": (
            gc.isenabled(), gc.get_threshold(), gc.get_debug(), len(gc.callbacks), sys.getrecursionlimit(),
            sys.getswitchinterval(), sorted(name for name, value in vars(builtins).items() if not _is_capsule(value)),
        ),
        "changes the locale": _locale.setlocale(_locale.LC_ALL, None),
    }  # fmt: skip


def _differing(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    """What an import did that a fork would not survive, in words."""
    for what, was in before.items():
        now = after[what]
        if was == now:
            continue
        if what == "leaves open":
            more = [target for number, target in sorted(now.items()) if was.get(number) != target]
            what = f"leaves {more[0]} open" if more else "closes what was open"
        return f"its import {what}"
    return None


def _is_capsule(value: object) -> bool:
    """Whether this is a pointer of C code to what is its own, as pybind11 keeps one among what is built in."""
    return (type(value).__module__, type(value).__name__) == ("builtins", "PyCapsule")


def _threads() -> bool:
    """Whether there is another thread that does not end before a fork, as those of OpenBLAS and its like do."""
    if len(os.listdir("/proc/self/task")) == 1:
        return False
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    until = time.monotonic() + _ENDING
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > until:
            return True
        time.sleep(0.001)
    return False


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _open() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass  # the one of looking
    return found


def _read(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall().decode("utf-8", "replace")
    except OSError:
        return ""


def _is_known(name: str) -> bool:
    """Whether this module is there, and as `_KNOWN` knows it, so that it can be renewed."""
    try:
        return _KNOWN[name][0](sys.modules[name])
    except Exception:  # in another version anything may be there, or missing
        return False


def renewals(modules: dict[str, ModuleType]) -> list[tuple[Callable[[Any], object], ModuleType]]:
    """What is to be called in each child, and with which module, so that what it took at import is the child's own."""
    known: dict[str, Callable[[Any], object]] = {
        "numpy.random.mtrand": lambda mtrand: mtrand._rand.__init__(),
        "logging": _renew_logging,
        "multiprocessing": _renew_main,
        "multiprocessing.process": _renew_multiprocessing,
        "threading": _renew_threading,
    }
    known |= {name: renew for name, (_, renew) in _KNOWN.items() if _is_known(name)}
    return [(renew, modules[name]) for name, renew in known.items() if name in modules]


def _renew_logging(logging: Any) -> None:
    logging._startTime = time.time_ns() if isinstance(logging._startTime, int) else time.time()


def _renew_main(multiprocessing: Any) -> None:
    sys.modules["__mp_main__"] = sys.modules["__main__"]


def _renew_multiprocessing(process: Any) -> None:
    process.current_process()._config["authkey"] = process.AuthenticationString(os.urandom(32))
    try:
        process.ORIGINAL_DIR = os.getcwd()
    except OSError:  # the folder is gone
        process.ORIGINAL_DIR = None


def _renew_threading(threading: Any) -> None:
    if hasattr(main := threading.main_thread(), "_set_native_id"):
        main._set_native_id()


def _has_own_semaphore(helpers: Any) -> bool:
    return hasattr(helpers, "_rand") and bool(helpers.name.startswith(f"/joblib-{os.getpid()}-"))


def _renew_joblib(helpers: Any) -> None:
    helpers.name = f"/joblib-{os.getpid()}-{next(helpers._rand)}"  # which looks by itself whether it was forked


def _names_process(utils: Any) -> bool:
    return all(function.__defaults__[0] == f"/proc/{os.getpid()}/stat" for function in (utils.memusage, utils.jiffies))


def _renew_numpy_testing(utils: Any) -> None:
    for function in (utils.memusage, utils.jiffies):
        function.__defaults__ = (f"/proc/{os.getpid()}/stat", *function.__defaults__[1:])


def _names_date(rules: Any) -> bool:
    date = time.asctime(time.gmtime(rules.generationtime))
    return bool(rules.module_rules["modulebody"].count(date) == 1)


def _renew_f2py(rules: Any) -> None:
    was, rules.generationtime = rules.generationtime, int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    dates = [time.asctime(time.gmtime(when)) for when in (was, rules.generationtime)]
    rules.module_rules["modulebody"] = rules.module_rules["modulebody"].replace(*dates)


# Of what a module takes in some of its versions: whether this is one, looked at in the worker, and how it is renewed.
_KNOWN: dict[str, tuple[Callable[[Any], bool], Callable[[Any], object]]] = {
    "joblib._multiprocessing_helpers": (_has_own_semaphore, _renew_joblib),
    "numpy.f2py.rules": (_names_date, _renew_f2py),
    "numpy.testing._private.utils": (_names_process, _renew_numpy_testing),
}
