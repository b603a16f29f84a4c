"""The output folder: where logs and files go, and which of what lies there is ours.

    OUT/logs/NAME.out, NAME.err        OUT/files/NAME/…        OUT/.buildrunner-files (the list of what is ours)

The folder shows the last run of each target: what an earlier run of that target left is removed when the next
one begins. Whatever is not in the list belongs to somebody else and is never touched. The list names the run, so that
a recorded run can tell whether what lies there is still its own.
"""

import errno
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from buildrunner.errors import UsageError
from buildrunner.ledger import Reader, RunRow
from buildrunner.ledger.lock import Lock
from buildrunner.machine import is_here
from buildrunner.naming import display, file_names
from buildrunner.regular import open_regular
from buildrunner.removal import remove_empty_folders, remove_tree
from buildrunner.run.attempt import LOCK

_LIST = ".buildrunner-files"
_FORMAT = "buildrunner.output/1"
_READY = ".ready-"
_LOG_SUFFIXES = (".out", ".err")
_PROBE = ".buildrunner-probe"
_NOT_ITS_FAULT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_LONGEST_PATH = 4096  # bytes, with the zero at its end: PATH_MAX


class OutputFolder:
    """An output folder in use by this process; it holds the folder's lock until `close`."""

    def __init__(self, path: str, *, purpose: str, option: str | None = "-o") -> None:
        """Open or create the folder. UsageError when that is impossible, or another run writes there.

        `option` is what names another one.
        """
        self.path = os.path.abspath(path)
        self.logs = os.path.join(self.path, "logs")
        self.files = os.path.join(self.path, "files")
        try:
            os.makedirs(self.logs, exist_ok=True)
            os.makedirs(self.files, exist_ok=True)
        except OSError as exc:
            raise UsageError(
                f"cannot use the output folder {display(path)}: {exc.strerror}; name another with -o DIR"
            ) from exc
        self._lock = Lock(Path(self.path, LOCK), purpose=purpose, what="output folder", option=option)
        self._own = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # so its number is nobody else's

    def close(self) -> None:
        """Let other runs in, without the folders that workers kept ready and were killed too soon to remove."""
        self._remove_ready()
        os.close(self._own)
        self._lock.release()  # its file stays: removing it would let two in that wait for it

    def fault(self, *, writing: bool) -> tuple[str, str] | None:
        """Why this is not the folder that was opened any more, or, if for `writing`, takes nothing; None: all is well.

        What is wrong is returned as a path in the folder, empty for all of it, and words. A disk that is full is well.
        """
        try:
            own, there = os.fstat(self._own), os.stat(self.path)
            if there.st_dev != own.st_dev:
                return "", "is another one now: its disk is gone"
            if there.st_ino != own.st_ino or not os.listdir(self.path):
                return "", "was removed or emptied"
        except FileNotFoundError:
            return "", "is gone"
        except OSError as exc:
            return None if exc.errno in _NOT_ITS_FAULT else ("", f"cannot be used: {exc.strerror}")
        for folder in (self.logs, self.files) if writing and not self._is_elsewhere() else ():
            try:
                _probe(folder)
            except OSError as exc:
                if exc.errno not in _NOT_ITS_FAULT:
                    return os.path.basename(folder), f"cannot be written: {exc.strerror}"
        return None

    def log(self, file: str, suffix: str, number: int | None = None) -> str:
        """Path of a job's log (`out` or `err`); with a number, that earlier attempt's."""
        return os.path.join(self.logs, f"{file}.{suffix}" if number is None else f"{file}.{number}.{suffix}")

    def outputs(self, file: str) -> str:
        """Path of a job's own output folder."""
        return os.path.join(self.files, file)

    def ready(self, worker: int) -> str:
        """Path of the empty folder a worker keeps ready."""
        return os.path.join(self.files, f"{_READY}{worker}")

    def begin(self, key: str, run: str, names: Sequence[str]) -> dict[str, str]:
        """Remove what the target's last run left and claim room for this one: a file name for every job."""
        self._require_writable()  # before anything makes way
        owners = self._read_list()
        mine = owners.pop(key, None)
        if mine:
            self._remove(mine, mine["names"])
        wanted = set(file_names(names).values())
        for entry in owners.values():  # a name has one owner: the run that writes it last
            self._remove(entry, [name for name in entry["names"] if name in wanted])
        # Whatever is left belongs to another target or to a stranger.
        taken = {_log_stem(log) for log in os.listdir(self.logs)} | set(os.listdir(self.files))
        taken |= {name for entry in owners.values() for name in entry["names"]}
        result = file_names(names, taken=taken)
        names = sorted(result.values())
        owners[key] = {"run": run, "names": names, "open": names, "files": []}
        self._write_list(owners)
        return result

    def go_on(self, key: str, names: Iterable[str], *, never_started: Iterable[str] = ()) -> None:
        """A run that was finished goes on with these jobs: until it is finished again, all of theirs is its own.

        What lies there of one that was `never_started` is of an attempt that the record lost in a power cut.
        """
        for name in never_started:
            self._remove_outputs(name)
        owners = self._read_list()
        owners[key]["open"] = sorted(names)
        self._write_list(owners)

    def finish(self, key: str, files: Iterable[str]) -> None:
        """Say exactly which files the run left (relative to the folder), beside its jobs' logs.

        A path that ends in a slash is a folder that nobody could look through: all in it is the run's.
        """
        owners = self._read_list()
        if key in owners:
            owners[key]["files"] = sorted({self._listed(path) for path in files})
            owners[key]["open"] = []
            self._write_list(owners)

    def _listed(self, path: str) -> str:
        if len(os.fsencode(os.path.join(self.path, path))) >= _LONGEST_PATH:
            return "/".join(path.split("/")[:2]) + "/"  # cannot be removed one by one
        return path[:-2] if path.endswith("/./") else path

    def set_aside(self, file: str, number: int) -> None:
        """Give the logs of an earlier attempt its number, and drop the files it left."""
        for suffix in ("out", "err"):
            with suppress(FileNotFoundError):
                os.rename(self.log(file, suffix), self.log(file, suffix, number))
        self._remove_outputs(file)

    def _remove(self, entry: dict[str, Any], names: Iterable[str]) -> None:
        """Remove what these jobs left, and take it off their target's list."""
        gone = set(names)
        if not self._is_elsewhere():
            for name in gone:
                for suffix in _LOG_SUFFIXES:
                    _unlink(os.path.join(self.logs, name + suffix))
                self._remove_intruder(self.outputs(name))
            self._remove_open(gone.intersection(entry["open"]))
            for path in entry["files"]:
                if _job_of(path) in gone and not self._behind_link(path):
                    if path.endswith("/"):
                        remove_tree(os.path.join(self.path, path.rstrip("/")))
                    else:
                        _unlink(os.path.join(self.path, path))
            for name in gone:
                remove_empty_folders(self.outputs(name))
        entry["files"] = [path for path in entry["files"] if _job_of(path) not in gone]
        for kind in ("names", "open"):
            entry[kind] = [name for name in entry[kind] if name not in gone]

    def _remove_open(self, names: Collection[str]) -> None:
        """Remove what jobs left whose run was cut off before it could say what that is: all of it is that run's."""
        if not names:
            return
        for name in names:
            remove_tree(self.outputs(name))
        for log in os.listdir(self.logs):
            stem, _, number = _log_stem(log).rpartition(".")
            if number.isdigit() and stem in names:
                _unlink(os.path.join(self.logs, log))

    def _is_elsewhere(self) -> bool:
        """Whether a script put a link in the place of a folder of ours: what it leads to is not ours to remove."""
        return os.path.islink(self.logs) or os.path.islink(self.files)

    def _remove_outputs(self, file: str) -> None:
        if not self._is_elsewhere():
            self._remove_intruder(self.outputs(file))
            remove_tree(self.outputs(file))

    def _remove_intruder(self, path: str) -> None:
        """Remove a file or link that stands where we had put a folder: only its script can have done that."""
        if os.path.islink(path) or not os.path.isdir(path):
            _unlink(path)

    def _behind_link(self, relative: str) -> bool:
        """Whether a folder on the way there is a link, so that the path leads to somebody else's files."""
        folder = os.path.dirname(relative)
        while folder:
            if os.path.islink(os.path.join(self.path, folder)):
                return True
            folder = os.path.dirname(folder)
        return False

    def _remove_ready(self) -> None:
        with suppress(OSError):
            for name in () if self._is_elsewhere() else os.listdir(self.files):
                if name.startswith(_READY) and name.removeprefix(_READY).isdigit():
                    with suppress(OSError):  # a stranger's, or with something in it
                        os.rmdir(os.path.join(self.files, name))

    def _read_list(self) -> dict[str, dict[str, Any]]:
        return _read_list(self.path)

    def _write_list(self, targets: dict[str, dict[str, Any]]) -> None:
        final = os.path.join(self.path, _LIST)
        try:
            with open(final + ".new", "w", encoding="ascii") as file:
                file.write(json.dumps({"format": _FORMAT, "targets": targets}))  # not `dump`, which is slow
            os.replace(final + ".new", final)
        except OSError as exc:
            _unlink(final + ".new")
            raise self._unwritable(self.path, exc) from exc

    def _require_writable(self) -> None:
        for folder in (self.path, self.logs, self.files):
            try:
                _probe(folder)
            except OSError as exc:
                raise self._unwritable(folder, exc) from exc

    def _unwritable(self, folder: str, exc: OSError) -> UsageError:
        room = "make room, or " if exc.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return UsageError(
            f"cannot write in the output folder {display(folder)}: {exc.strerror}; {room}name another with -o DIR"
        )


def reopen(reader: Reader, run: RunRow, *, cannot: str, purpose: str) -> OutputFolder:
    """The output folder of a recorded run, with that run's own files still in it; they stay so until it is closed.

    UsageError, saying what the run `cannot`, when they are gone or no longer its own.
    """
    path = _path(run)
    folder = OutputFolder(path, purpose=purpose, option=None) if os.path.isdir(path) else None
    if (why := replaced(reader, run)) is None:
        assert folder is not None
        return folder
    if folder is not None:
        folder.close()
    raise UsageError(f"run {run.name} cannot {cannot}: {why}; start a new run")


@contextmanager
def reserved(run: RunRow, *, purpose: str) -> Iterator[None]:
    """Nobody uses the output folder of a recorded run meanwhile, if it is there; LedgerBusy when somebody does."""
    path = _path(run)
    folder = OutputFolder(path, purpose=purpose, option=None) if os.path.isdir(path) else None
    try:
        yield
    finally:
        if folder is not None:
            folder.close()


def replaced(reader: Reader, run: RunRow) -> str | None:
    """Why the output folder does not hold all files of a recorded run any more; None while it does."""
    names, why = held(run)
    return None if names.issuperset(reader.files(run)) else why


def held(run: RunRow) -> tuple[frozenset[str], str]:
    """The jobs, by their file names, whose logs and outputs in the output folder are still this run's, and why no more.

    Asks nobody and locks nothing: only `reopen` makes sure that it stays so.
    """
    shown = display(run.options["output"] if is_here(run.options["directory"]) else _path(run))
    if not os.path.isdir(_path(run)):
        return frozenset(), f"its output folder {shown} is gone"
    try:
        os.listdir(_path(run))
    except OSError as exc:
        return frozenset(), f"its output folder {shown} cannot be read: {exc.strerror}"
    owners = _read_list(_path(run))
    entry = owners.get(run.key)
    if entry is None:
        return frozenset(), f"the output folder {shown} has lost its list of what is whose"
    if entry["run"] != run.name:
        return frozenset(), f"run {entry['run']} of the same target has used the output folder {shown} since"
    return frozenset(entry["names"]), f"another target has used the output folder {shown} since"


def left_files(reader: Reader, run: RunRow) -> Iterator[str]:
    """What a run left in the output folder beside its jobs' last logs, relative to the folder."""
    for row in reader.results(run):
        for number in range(1, row.attempts):
            yield from (f"logs/{row.file}.{number}.out", f"logs/{row.file}.{number}.err")
        for output in row.outputs:
            yield f"files/{row.file}/{output.path}"
        for path in row.skipped_outputs:
            yield f"files/{row.file}/{path}"


def _path(run: RunRow) -> str:
    directory: str = run.options["directory"]
    return os.path.join(directory, run.options["output"])


def _probe(folder: str) -> None:
    """Make a file and remove it. Raises OSError."""
    probe = os.path.join(folder, _PROBE)
    os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    os.unlink(probe)


def _read_list(path: str) -> dict[str, dict[str, Any]]:
    """An output folder's list; empty when it is missing or not as we write it: then nothing is known to be ours."""
    try:
        with open_regular(os.path.join(path, _LIST)) as file:
            data = json.loads(file.read().decode("ascii"))
        targets: dict[str, dict[str, Any]] = data["targets"]
        sound = data["format"] == _FORMAT and all(map(_is_sound, targets.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return targets if sound else {}


def _is_sound(entry: dict[str, Any]) -> bool:
    """Whether every path of a target's entry lies where a run of ours puts things."""
    names, still_open = entry["names"], entry["open"]
    if not isinstance(entry["run"], str) or not isinstance(names, list) or not isinstance(still_open, list):
        return False
    if not all(n not in ("", ".", "..") and "/" not in n for n in names + still_open):
        return False
    parts = [path.removesuffix("/").split("/") for path in entry["files"]]
    return all(len(p) > 1 and p[0] in ("logs", "files") and {"", ".", ".."}.isdisjoint(p) for p in parts)


def _job_of(path: str) -> str:
    """The job, by its file name, that left `files/NAME/…` or `logs/NAME.<n>.out`."""
    kind, name = path.split("/")[:2]
    return name if kind == "files" else _log_stem(name).rpartition(".")[0]


def _log_stem(log: str) -> str:
    stem, dot, suffix = log.rpartition(".")
    return stem if dot and f".{suffix}" in _LOG_SUFFIXES else log


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
