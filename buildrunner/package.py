"""The zip: what a run's scripts produced, byte for byte the same whenever the outputs are.

    manifest.json      what ran, how it ended, the SHA-256 of every file and script
    files/NAME/…       what each script left in its output folder
    logs/NAME.out|err  what it printed
    (archive comment)  the seal: SHA-256 of every byte before it

Entries are sorted, with one fixed time and fixed permissions. The seal covers what the zip format's own checksums
do not (headers, the directory, the comment itself), so `verify` finds one flipped byte anywhere.
"""

import errno
import hashlib
import json
import os
import sqlite3
import stat
import struct
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

from buildrunner import destination
from buildrunner.errors import NotAPackage, PackageError
from buildrunner.job import Outcome
from buildrunner.ledger import Reader, ResultRow, RunRow, spec_from_json
from buildrunner.naming import display, file_name
from buildrunner.packing import Contents, Directory, Entry, NoNames, document, file_item, laid_out, members, put
from buildrunner.regular import open_regular
from buildrunner.reports.words import command
from buildrunner.summary import run_document, some, stamp

MANIFEST = "manifest.json"
REPORT = "report.json"
SCHEMA = "buildrunner.manifest/1"
_SEAL = b"buildrunner package, sha256 of all before this comment: "
_SEAL_LENGTH = len(_SEAL) + 64
_END_RECORD = 22  # bytes of a zip's end record without its comment
_DOS_EPOCH = 315532800  # 1980-01-01, before which a zip knows no time
_DOS_END = 4354819198  # 2107-12-31 23:59:58, its last
_LEVEL = 6
_CHUNK = 1 << 20


def check_destination(path: str, *, instead: str = "") -> None:
    """UsageError when no zip can be written there, with what else there is to do; leaves nothing behind."""
    destination.check(path, what="the zip", option="--zip FILE", ours=_is_package, instead=instead)


def _is_package(file: IO[bytes]) -> bool:
    """Whether there is a seal of ours; whether it holds is what `verify` is for."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - _SEAL_LENGTH))
    return file.read().startswith(_SEAL)


def package(
    reader: Reader, run: RunRow, path: str, *, with_report: bool = False, whole: bool = False
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write the zip of a run beside its place and rename it there.

    Returns its `path`, `sha256` and number of `files`, and a sentence on each output that changed after its script had
    ended. With `whole`, files that are gone are an error. Raises PackageError; then an older zip of that name is
    untouched.
    """
    folder = os.path.join(run.options["directory"], run.options["output"])
    try:
        with closing(Contents()) as contents:
            changed, gone = _collect(reader, run, folder, contents)
            if whole and gone:
                raise PackageError(
                    f"cannot make the zip {display(path)}: {len(gone)} of the run's files are gone, {display(gone[0])} "
                    "for one; run it again"
                )
            report = _report(reader, run) if with_report else None
            digest, count = _write(path, contents, report)
    except sqlite3.Error as exc:
        raise PackageError(
            f"cannot make the zip {display(path)}: no room to sort what goes into it ({exc}); TMPDIR names another "
            f"folder for temporary files, then `{command(run, 'package')}`"
        ) from exc
    except OSError as exc:
        where = f" ({display(os.fsdecode(exc.filename))})" if exc.filename else ""
        raise PackageError(
            f"cannot make the zip {display(path)}: {exc.strerror or exc}{where}; {_remedy(exc, run)}"
        ) from exc
    notices = (
        *_notice("changed after {} ended, packaged as {} now", changed, ("it is", "they are")),
        *_notice("gone since {} ended, so not packaged", gone, ("", "")),
    )
    return {"path": path, "sha256": digest, "files": count}, notices


def _notice(words: str, sources: list[str], are: tuple[str, str]) -> Iterator[str]:
    """One sentence on all files of which this is to be said."""
    if sources:
        whose = ("its script", are[0]) if len(sources) == 1 else ("their scripts", are[1])
        yield f"{words.format(*whose)}: {some(sources)}"


def _remedy(exc: OSError, run: RunRow) -> str:
    elsewhere = f"`{command(run, 'package', '--zip', 'FILE')}` makes it in another place"
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the results are recorded: make room, then `{command(run, 'package')}`, or {elsewhere}"
    return f"the results are recorded: see to that, then `{command(run, 'package')}`, or {elsewhere}"


def _collect(reader: Reader, run: RunRow, folder: str, contents: Contents) -> tuple[list[str], list[str]]:
    """Hash everything that goes in; the manifest comes first, so this is a pass of its own.

    Returned are the paths of what is not as its script left it: changed, and gone.
    """
    changed: list[str] = []
    gone: list[str] = []
    for row in reader.results(run):
        logs: dict[str, str | None] = {}
        for suffix, stream in (("out", "stdout"), ("err", "stderr")):
            name = f"logs/{row.file}.{suffix}"
            logs[stream] = None
            source = os.path.join(folder, name)
            try:
                contents.add(_entry(name, source))
                logs[stream] = name
            except FileNotFoundError:
                if row.outcome not in (None, Outcome.SPAWN_ERROR, Outcome.LOST):
                    gone.append(source)
        outputs = []
        for output in row.outputs:
            source = os.path.join(folder, "files", row.file, output.path)
            name = f"files/{row.file}/" + "/".join(map(file_name, output.path.split("/")))
            try:
                entry = _entry(name, source)
            except FileNotFoundError:
                gone.append(source)
                continue
            if entry.sha256 != output.sha256:
                changed.append(source)
            contents.add(entry)
            outputs.append({"path": output.path, "file": name})
        contents.add_result(row.name, _manifest_row(row, logs, outputs))
    return changed, gone


def _entry(name: str, path: str) -> Entry:
    digest, size = hashlib.sha256(), 0
    with open_regular(path) as file:
        end = os.fstat(file.fileno()).st_size  # somebody may go on writing faster than this reads
        while chunk := file.read(min(_CHUNK, end - size)):
            digest.update(chunk)
            size += len(chunk)
    return Entry(name, path, size, digest.hexdigest())


def _manifest_row(row: ResultRow, logs: dict[str, str | None], outputs: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "name": row.name,
        "script_sha256": row.script_sha256,
        "args": list(spec_from_json(row.name, row.spec).args),
        "state": row.state,
        "outcome": row.outcome,
        "exit_code": row.exit_code,
        "signal": row.signal,
        **logs,
        "outputs": outputs,
    }


def _manifest(contents: Contents) -> Iterator[str]:
    """Nothing in it changes by itself: no ids, times, workers or absolute paths."""
    files = map(file_item, contents.files())
    return document({"schema": SCHEMA, "results": members("[]", contents.results()), "files": members("{}", files)})


def _report(reader: Reader, run: RunRow) -> Iterator[str]:
    fields = run_document(reader, run)
    fields["results"] = members("[]", map(laid_out, fields["results"]))
    fields["packaged"] = stamp(time.time())
    return document(fields)


def _write(path: str, contents: Contents, report: Iterator[str] | None) -> tuple[str, int]:
    make = partial(_info, when=_entry_time())
    folder = os.path.dirname(os.path.realpath(path))
    with destination.replacing(path) as file:
        with (
            tempfile.TemporaryFile(dir=folder) as directory,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive,
        ):
            archive.filelist = written = Directory(directory, make)
            archive.NameToInfo = NoNames()
            put(archive, make(MANIFEST), _manifest(contents), folder=folder)
            if report is not None:
                put(archive, make(REPORT), report, folder=folder)
            for entry in contents.files():
                _add(archive, make(entry.name), entry)
        digest = _seal(file)
    return digest, len(written)


def _add(archive: zipfile.ZipFile, info: zipfile.ZipInfo, entry: Entry) -> None:
    digest, left = hashlib.sha256(), entry.size + 1  # one byte more tells that it has grown
    info.file_size = entry.size
    with (
        open_regular(entry.path) as source,
        archive.open(info, "w", force_zip64=entry.size > 1 << 31) as target,
    ):
        while chunk := source.read(min(_CHUNK, left)):
            digest.update(chunk)
            target.write(chunk)
            left -= len(chunk)
    if digest.hexdigest() != entry.sha256:
        raise PackageError(
            f"{display(entry.path)} changed while it was being packaged; "
            "when nothing writes it any more, `buildrunner package` makes the zip"
        )


def _info(name: str, when: tuple[int, int, int, int, int, int]) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=when)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # Unix, wherever it was made
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


def _entry_time() -> tuple[int, int, int, int, int, int]:
    """SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/), never before 1980."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(text[:12]) if text.isdecimal() else 0
    t = time.gmtime(min(max(seconds, _DOS_EPOCH), _DOS_END))
    return (t.tm_year, t.tm_mon, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec)


def _seal(file: IO[bytes]) -> str:
    """Append the seal as the archive's comment; returns the SHA-256 of the whole file."""
    file.seek(-2, os.SEEK_END)
    file.write(struct.pack("<H", _SEAL_LENGTH))
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    seal = _SEAL + digest.hexdigest().encode()
    file.write(seal)
    digest.update(seal)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `verify` found: how many files it checked, and every difference as a sentence."""

    files: int
    problems: tuple[str, ...]


def verify(path: str) -> Verification:
    """Check a package whole. Raises NotAPackage when it is none of ours."""
    shown = display(path)
    try:
        with open_regular(os.path.realpath(path)) as file:
            problems = [] if _seal_holds(file) else ["the seal over the whole file does not hold"]
            if not _looks_like_ours(file):
                raise NotAPackage(f"{shown} is not a package made by buildrunner")
            try:
                files = 0
                with zipfile.ZipFile(file) as archive:
                    for problem in _check_entries(archive):
                        problems.append(problem)
                    files = len(archive.infolist())
            except Exception as exc:  # a damaged zip makes the library raise nearly anything
                problems.append(f"the zip's structure is damaged: {display(str(exc))}")
    except OSError as exc:
        raise NotAPackage(f"cannot read {shown}: {exc.strerror}") from exc
    return Verification(files=files, problems=tuple(problems))


def _looks_like_ours(file: IO[bytes]) -> bool:
    """By its head or its tail: one damaged byte must not make it somebody else's."""
    file.seek(0)
    head = file.read(30 + len(MANIFEST))
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _SEAL_LENGTH - _END_RECORD))
    tail = file.read()
    if head[30:] == MANIFEST.encode() and head[:2] == b"PK":
        return True
    return tail[:4] == b"PK\5\6" and tail[_END_RECORD : _END_RECORD + 11] == _SEAL[:11]


def _seal_holds(file: IO[bytes]) -> bool:
    size = file.seek(0, os.SEEK_END)
    if size < _SEAL_LENGTH + _END_RECORD:
        return False
    left = size - _SEAL_LENGTH
    file.seek(0)
    digest = hashlib.sha256()
    while left and (chunk := file.read(min(_CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    return file.read() == _SEAL + digest.hexdigest().encode()


def _check_entries(archive: zipfile.ZipFile) -> Iterator[str]:
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if len(set(names)) < len(names):
        yield "an entry is there twice"
    for info in infos:
        name = display(info.filename)
        if info.filename.startswith("/") or ".." in info.filename.split("/") or "\\" in info.filename:
            yield f"{name}: an entry must stay below the folder it is unpacked in"
        if stat.S_ISLNK(info.external_attr >> 16):
            yield f"{name}: an entry must not be a link"
    if MANIFEST not in names:
        yield f"there is no {MANIFEST}"
        return
    manifest = json.loads(archive.read(MANIFEST))
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        yield f"{MANIFEST} is not of schema {SCHEMA}"
        return
    expected = manifest["files"]
    for name in sorted(set(expected) - set(names)):
        yield f"{display(name)} is missing"
    for info in infos:
        if info.filename in (MANIFEST, REPORT):
            continue
        if info.filename not in expected:
            yield f"{display(info.filename)} is not in the manifest"
            continue
        digest = hashlib.sha256()
        try:
            with archive.open(info) as entry:
                while chunk := entry.read(_CHUNK):
                    digest.update(chunk)
        except Exception as exc:  # as above
            yield f"{display(info.filename)} cannot be unpacked: {display(str(exc))}"
            continue
        if digest.hexdigest() != expected[info.filename]["sha256"]:
            yield f"{display(info.filename)} differs from the manifest"
