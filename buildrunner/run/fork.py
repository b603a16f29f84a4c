"""Starting a script warm: a fork of this process, which runs Python already, becomes the script.

The script finds what `python script.py` would have given it, because this process was started in the same way: by the
same interpreter, in the same folder, with the same environment and with streams of the same kind. What is left to do is
to name the script wherever Python has written down which one it runs. Whatever cannot be made equal is started cold.
"""

from __future__ import annotations

import gc
import os
import stat
import sys
import time

from buildrunner.run import attempt
from buildrunner.run.pidfd import open_pidfd
from buildrunner.run.shadow import RESTED, Shadows

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from types import CodeType, ModuleType
    from typing import Any, NoReturn

    _Script = tuple[CodeType, str, str, bool]

PLACEHOLDER = "-" * 36
"""Stands for the attempt's id in the environment that a warm worker is started with; each child puts its own there."""

_ID = "BUILDRUNNER_ATTEMPT_ID"
_OURS = "BUILDRUNNER_"
_READ_AT_START = (
    "PYTHON", "LD_", "LC_", "LANG", "TZ", "MPL", "OMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "NUMEXPR_", "VECLIB_",
    "KMP_", "GOMP_", "NUMBA_", "CUDA_", "GLIBC_", "MALLOC_", "HOME", "VIRTUAL_ENV",
)  # fmt: skip
_MOST_DESCRIPTORS = 64  # a worker has fewer open
_LITTLE = 1 << 15  # bytes; a longer script takes its time and memory in its own process
_LONGEST_REASON = 4096  # bytes; a pipe takes as many at once
_LOG_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC


class Original:
    """What a script finds when it begins: the namespace of `__main__`, modules, finders by their folder, `sys.path`.

    `preloaded` are those of the modules that Python did not need to start. Their imports read
    these `variables` of the environment. `renewals` are called in each child.
    """

    def __init__(
        self,
        main: dict[str, Any],
        modules: dict[str, ModuleType],
        preloaded: Iterable[str],
        finders: dict[str, Any],
        path: list[str],
        variables: Collection[str] = (),
        renewals: Sequence[tuple[Callable[[Any], object], ModuleType]] = (),
    ) -> None:
        self.main = main
        self.modules = modules
        self.finders = finders
        self.path = path
        self.variables = variables
        self.renewals = renewals
        self.shadows = Shadows(preloaded)
        for folder, finder in finders.items():
            try:
                # What was written so lately could be written again without looking different.
                if finder is not None and time.time() - os.stat(folder).st_mtime < RESTED:
                    finder.invalidate_caches()
            except (OSError, AttributeError):
                pass


class ForkSlot(attempt.Slot):
    """Starts scripts of this process's own Python by a fork, and all others as ever."""

    original: Original

    def __init__(self, *args: Any) -> None:
        """As of `attempt.Slot`. Raises OSError or ValueError where /proc cannot be used."""
        super().__init__(*args)
        self.python = sys.orig_argv[0]
        self.has_relative_path = any(p[:1] != "/" for p in (os.environ.get("PYTHONPATH") or "/").split(":"))
        self.is_safe = getattr(sys.flags, "safe_path", False)
        self.block, self.area, self.mark = _own_block()
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        # What this process has imported for itself is not there for a script to find; we go on using it all the same.
        resource = sys.modules["resource"]  # os.wait4 looks for it each time
        sys.modules.clear()
        sys.modules.update(self.original.modules)
        sys.modules.setdefault("resource", resource)
        sys.path_importer_cache.clear()
        sys.path_importer_cache.update(self.original.finders)
        self.imported = sys.modules.keys() - self.original.modules.keys()
        self.size = len(sys.modules)
        self.said = os.fstat(2).st_size
        self.title = self.id = b""
        self.extra: list[tuple[str, str]] = []

    def _spawn(
        self,
        argv: tuple[str, ...],
        cwd: str | None,
        extra: tuple[tuple[str, str], ...],
        stdout: str,
        stderr: str,
    ) -> None:
        why = self._why_not(argv, cwd, extra)
        if why:
            self.mode, self.why_cold = "cold", why
            return super()._spawn(argv, cwd, extra, stdout, stderr)
        self.mode, self.why_cold = "warm", None
        if cwd is not None:
            os.chdir(cwd)
        out = err = -1
        try:
            out = os.open(stdout, _LOG_FLAGS, 0o666)
            err = os.open(stderr, _LOG_FLAGS, 0o666)
            gc.freeze()  # what the child collects is its own, and it need not touch what it shares to see that
            script = self._get_ready(argv, extra)
            pid = os.fork()
        except OSError:
            _close(out, err)
            if cwd is not None:
                os.fchdir(self.home)
            raise
        if not pid:
            try:
                newborn = self._become(script, argv, extra, out, err)
            except BaseException as exc:  # whatever else left this would go on as a second worker
                self._go_cold(argv, extra, f"its process could not be made ready for it ({type(exc).__name__}: {exc})")
            raise newborn
        self.pid = pid
        os.close(out)
        os.close(err)
        if cwd is not None:
            os.fchdir(self.home)

    def _get_ready(self, argv: tuple[str, ...], extra: tuple[tuple[str, str], ...]) -> _Script | None:
        """Do here what the child will find done: each page of memory it writes to itself has to be copied for it."""
        if len(sys.modules) != self.size:  # something of ours was imported late
            self.imported = sys.modules.keys() - self.original.modules.keys()
            self.size = len(sys.modules)
            sys.path_importer_cache.clear()
            sys.path_importer_cache.update(self.original.finders)
        self.extra = []
        for name, value in extra:
            if not name.startswith(_OURS):
                self.extra.append((name, value))
                continue
            os.environ[name] = value
            if name == _ID:
                self.id = value.encode()
        title = b" ".join(map(os.fsencode, argv))[: self.area - 2].replace(b"\0", b" ")
        # The kernel shows a title up to its end where the last byte of the arguments' area is not a zero.
        self.title = title + b"\0" * (self.area - 1 - len(title)) + b"."
        sys.argv = list(argv[1:])
        sys.orig_argv = list(argv)
        self.own_rss = 0  # to compile a script may make this process grow, which must not count as that of others
        try:
            script = _load(argv[1], _LITTLE)
        except Exception:
            return None  # the child will say what is wrong
        said = os.fstat(2).st_size
        if said == self.said:
            return script
        self.said = said
        return None  # the child shall be warned of it, not we

    def _why_not(self, argv: tuple[str, ...], cwd: str | None, extra: tuple[tuple[str, str], ...]) -> str | None:
        """Why this one cannot be started warm."""
        if argv[0] != self.python:
            name = os.path.basename(argv[0])
            return f"{argv[0] if name.startswith('python') else name} runs it, and not the run's own Python"
        if len(argv) < 2 or argv[1].startswith("-"):
            return "Python is given options of its own for it"
        if cwd is not None and self.has_relative_path:
            return "PYTHONPATH names a folder relative to where a script runs"
        for name, value in extra:
            is_read = name.startswith(_READ_AT_START) or name in self.original.variables
            if is_read and not name.startswith(_OURS) and os.environ.get(name) != value:
                return f"it has a {name} of its own, which is read when Python or a library starts"
        return self.original.shadows.of(argv[1] if cwd is None else f"{cwd}/{argv[1]}")

    def _true_rss(self, measured: int) -> int | None:
        # A fork has memory of its own from its first moment on, of which what it shares is a part.
        return measured if self.mode == "warm" else super()._true_rss(measured)

    def _reap(self) -> tuple[int, Any]:
        ending = super()._reap()
        if self.mode == "warm":
            try:
                told = os.read(self.reader, _LONGEST_REASON)
            except BlockingIOError:
                return ending
            self.mode, self.why_cold = "cold", told.decode("utf-8", "replace")
        return ending

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except PermissionError:
            pass
        except ProcessLookupError:
            if self.mode == "warm":
                os.kill(self.pid, number)  # it has no session of its own yet

    # in the child

    def _become(
        self, script: _Script | None, argv: tuple[str, ...], extra: tuple[tuple[str, str], ...], out: int, err: int
    ) -> attempt.Newborn:
        """Make this process what Python is when it comes to the first line of a script; by the result it leaves."""
        os.setsid()
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        os.pwrite(memory, self.title, self.block)
        os.pwrite(memory, self.id, self.mark)  # by this it is found wherever it runs to
        # Only now may it let go of the journal, whose lock tells that a script may run; and what comes can take long.
        os.closerange(3, self.writer)
        os.closerange(self.writer + 1, _MOST_DESCRIPTORS)
        for name, value in self.extra:
            os.environ[name] = value
        try:
            code, folder, file, is_told = script or _load(argv[1])  # type: ignore[misc]
        except BaseException as exc:
            # Python says it in words of its own, which depend on how it reads the file: let it.
            self._go_cold(argv, extra, f"Python itself has to read it ({type(exc).__name__})")
        for name in self.imported:
            del sys.modules[name]
        sys.path[:] = self.original.path
        if not self.is_safe:
            sys.path[0] = folder
        sys.path_importer_cache[file] = None
        space = _new_main(self.original.main, file)
        for renew, module in self.original.renewals:
            renew(module)
        os.close(self.writer)
        return attempt.Newborn(code, space, is_told)

    def _go_cold(self, argv: tuple[str, ...], extra: tuple[tuple[str, str], ...], why: str) -> NoReturn:
        try:
            os.write(self.writer, os.fsencode(why)[:_LONGEST_REASON])
            os.ftruncate(2, 0)  # what was warned of comes again
            env = self.env | {os.fsencode(name): os.fsencode(value) for name, value in extra}
            os.execve(argv[0], argv, env)
        except OSError as exc:
            os.write(2, os.fsencode(f"{argv[0]}: {exc.strerror}\n"))
        finally:
            os._exit(127)


def _load(path: str, most: int | None = None) -> _Script | None:
    """A script's code, the folder it lies in where all links are followed, and its name from the root on.

    At last, whether it may have itself told of what Python does. None when it has more bytes than `most`.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError
        if most is not None and about.st_size > most:
            return None
        data = b""
        while part := os.read(fd, max(about.st_size + 1 - len(data), 1)):
            data = data + part if data else part
        folder = os.path.dirname(os.readlink(f"/proc/self/fd/{fd}"))
    finally:
        os.close(fd)
    if not data.isascii():
        data.decode()  # Python finds bad bytes also in comments, which `compile` passes over
    file = path if path.startswith("/") else f"{os.getcwd()}/{path}"
    return compile(data, file, "exec", dont_inherit=True), folder, file, b"addaudithook" in data


def _new_main(original: dict[str, Any], file: str) -> dict[str, Any]:
    """The namespace of a new `__main__`, with what Python puts there, in its order."""
    main = type(sys)("__main__")
    space = vars(main)
    space.clear()
    for name, value in original.items():
        if name == "__file__":
            value = file
        elif name == "__doc__":
            value = None
        elif name == "__loader__":
            value = type(value)("__main__", file)
        elif name == "__annotations__":
            value = {}
        space[name] = value
    sys.modules["__main__"] = main
    return space


def why_not() -> str | None:
    """Why scripts cannot be forks of this process, where the system does not let it do what that takes."""
    try:
        _, _, mark = _own_block()
        memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(memory, PLACEHOLDER.encode(), mark)
        finally:
            os.close(memory)
    except OSError as exc:
        return f"the system does not let Python use its own /proc/self ({exc.strerror})"
    except ValueError:
        return "the environment that Python was given is written over when it starts"
    if (pidfd := open_pidfd(os.getpid())) is None:
        return "the system has no pidfd_open"  # by SIGCHLD it would do as well, but for the handler, which scripts see
    os.close(pidfd)
    return None


def _own_block() -> tuple[int, int, int]:
    """Where in this process's memory its arguments lie and how long they are, and where the placeholder is."""
    with open("/proc/self/stat", "rb", buffering=0) as file:
        fields = file.read().rpartition(b")")[2].split()
    arguments, end, environment = int(fields[45]), int(fields[46]), int(fields[47])
    with open("/proc/self/environ", "rb", buffering=0) as file:
        place = (b"\0" + file.read()).index(f"\0{_ID}={PLACEHOLDER}".encode())
    return arguments, end - arguments, environment + place + len(_ID) + 1


def _close(*descriptors: int) -> None:
    for fd in descriptors:
        if fd >= 0:
            os.close(fd)
