"""The output folder: where logs and files go, and which of what lies there is ours.

    OUT/logs/NAME.out, NAME.err        OUT/files/NAME/…        OUT/.buildrunner-files (the list of what is ours)

The folder shows the last run of each target: what an earlier run of that target left is removed when the next
one begins. Whatever is not in the list belongs to somebody else and is never touched.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from buildrunner.errors import UsageError
from buildrunner.ledger.lock import Lock
from buildrunner.naming import display, file_names

_LIST = ".buildrunner-files"
_LOCK = ".buildrunner-lock"
_FORMAT = "buildrunner.output/1"
_LOG_SUFFIXES = (".out", ".err")


class OutputFolder:
    """An output folder in use by this process; it holds the folder's lock until `close`."""

    def __init__(self, path: str, *, purpose: str) -> None:
        """Open or create the folder. UsageError when that is impossible, or another run writes there."""
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
        self._lock = Lock(Path(self.path, _LOCK), purpose=purpose, what="output folder", option="-o")

    def close(self) -> None:
        """Let other runs in."""
        _unlink(os.path.join(self.path, _LOCK))
        self._lock.release()

    def log(self, file: str, suffix: str, number: int | None = None) -> str:
        """Path of a job's log (`out` or `err`); with a number, that earlier attempt's."""
        return os.path.join(self.logs, f"{file}.{suffix}" if number is None else f"{file}.{number}.{suffix}")

    def outputs(self, file: str) -> str:
        """Path of a job's own output folder."""
        return os.path.join(self.files, file)

    def ready(self, worker: int) -> str:
        """Path of the empty folder a worker keeps ready."""
        return os.path.join(self.files, f".ready-{worker}")

    def begin(self, key: str, names: Sequence[str]) -> dict[str, str]:
        """Remove what the target's last run left and claim room for this one: a file name for every job."""
        owners = self._read_list()
        self._remove(owners.pop(key, None))
        owned = {name for entry in owners.values() for name in entry["names"]}
        taken = {
            stem
            for stem in map(_log_stem, os.listdir(self.logs))
            if stem not in owned and not (stem.rpartition(".")[2].isdigit() and stem.rpartition(".")[0] in owned)
        }
        result = file_names(names, taken=taken)
        planned = set(result.values())
        for entry in owners.values():  # a name has one owner: the run that writes it last
            entry["names"] = [name for name in entry["names"] if name not in planned]
        owners[key] = {"names": sorted(planned), "files": None}
        self._write_list(owners)
        return result

    def finish(self, key: str, files: Iterable[str]) -> None:
        """Say exactly which files the run left (relative to the folder), beside its jobs' logs."""
        owners = self._read_list()
        if key in owners:
            owners[key]["files"] = sorted(files)
            self._write_list(owners)

    def set_aside(self, file: str, number: int) -> None:
        """Give the logs of an earlier attempt its number, and drop the files it left."""
        for suffix in ("out", "err"):
            with suppress(FileNotFoundError):
                os.rename(self.log(file, suffix), self.log(file, suffix, number))
        self._remove_outputs(file)

    def _remove(self, entry: dict[str, Any] | None) -> None:
        if entry is None:
            return
        for name in entry["names"]:
            for suffix in _LOG_SUFFIXES:
                _unlink(os.path.join(self.logs, name + suffix))
            if entry["files"] is None:  # cut off before it could say what it left: all of it is that run's
                self._remove_outputs(name)
        if entry["files"] is None:
            names = set(entry["names"])
            for log in os.listdir(self.logs):
                stem, _, number = _log_stem(log).rpartition(".")
                if number.isdigit() and stem in names:
                    _unlink(os.path.join(self.logs, log))
            return
        folders = set()
        for relative in entry["files"]:
            if not self._behind_link(relative):
                _unlink(os.path.join(self.path, relative))
            folder = os.path.dirname(relative)
            while folder not in ("", "files", "logs"):
                folders.add(folder)
                folder = os.path.dirname(folder)
        for folder in sorted(folders, key=len, reverse=True):
            if not self._behind_link(folder):
                _rmdir(os.path.join(self.path, folder))
        for name in entry["names"]:
            self._remove_intruder(self.outputs(name))

    def _remove_outputs(self, file: str) -> None:
        path = self.outputs(file)
        self._remove_intruder(path)
        shutil.rmtree(path, ignore_errors=True)

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

    def _read_list(self) -> dict[str, dict[str, Any]]:
        try:
            with open(os.path.join(self.path, _LIST), encoding="ascii") as file:
                data = json.load(file)
            targets: dict[str, dict[str, Any]] = data["targets"] if data["format"] == _FORMAT else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # then nothing here is known to be ours, and nothing is removed
        return targets

    def _write_list(self, targets: dict[str, dict[str, Any]]) -> None:
        final = os.path.join(self.path, _LIST)
        try:
            with open(final + ".new", "w", encoding="ascii") as file:
                json.dump({"format": _FORMAT, "targets": targets}, file)
            os.replace(final + ".new", final)
        except OSError as exc:
            raise UsageError(f"cannot write in the output folder {display(self.path)}: {exc.strerror}") from exc


def check_destination(path: str) -> None:
    """UsageError when no zip can be written there; leaves nothing behind."""
    shown = display(path)
    if os.path.isdir(path):
        raise UsageError(f"cannot write the zip {shown}: it is a folder; name a file with --zip FILE")
    try:
        fd, probe = tempfile.mkstemp(prefix=".buildrunner-", dir=os.path.dirname(os.path.abspath(path)))
    except OSError as exc:
        raise UsageError(
            f"cannot write the zip {shown}: {exc.strerror}; name another with --zip FILE, or none with --no-zip"
        ) from exc
    os.close(fd)
    os.unlink(probe)


def _log_stem(log: str) -> str:
    stem, dot, suffix = log.rpartition(".")
    return stem if dot and f".{suffix}" in _LOG_SUFFIXES else log


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _rmdir(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError:
        pass
