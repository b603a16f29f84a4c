"""What an attempt left in its output folder, hashed: a few small files here, more in a short-lived child.

The child keeps the worker small and lets it mind its queue meanwhile.
"""

from __future__ import annotations

import marshal
import os
import stat

TYPE_CHECKING = False  # as in typing, which is too big to import here
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

_FEW = 16  # files
_LITTLE = 1 << 18  # bytes
_CHUNK = 1 << 16

Found = tuple[tuple[tuple[str, int, str], ...], tuple[str, ...]]


def start_hashing(folder: str) -> tuple[int, int]:
    """Fork a child that hashes what is in the folder; returns its pid and the descriptor to read it from."""
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    status = 1
    try:
        os.close(reader)  # so that writing fails when nobody reads any more
        view = memoryview(marshal.dumps(_hash_all(folder, parent)))
        while view:
            view = view[os.write(writer, view) :]
        status = 0
    finally:
        os._exit(status)


def finish_hashing(data: bytes) -> Found:
    """What the child found, from everything it wrote; a child that failed vouches for nothing in the folder."""
    try:
        found: Found = marshal.loads(data)
    except (EOFError, ValueError, TypeError):
        return (), ("./",)
    return found


def hash_few(folder: str) -> Found | None:
    """Hash a few small files here and now, where that takes no time; None where there is more, or a folder."""
    files: list[tuple[str, os.stat_result | None]] = []
    size = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                info = entry.stat(follow_symlinks=False)
                size += info.st_size
                files.append((entry.name, info))
                if len(files) > _FEW or size > _LITTLE or stat.S_ISDIR(info.st_mode):
                    return None
    except OSError:
        return None

    def check(read: int) -> None:
        if read > _LITTLE:
            raise _Grows

    try:
        return _hash(folder, files, _small_sha256, check)
    except _Grows:
        return None


class _Grows(Exception):
    """Somebody is still writing this file, for who knows how long."""


_sha256: list[Any] = []


def _small_sha256() -> Any:
    """Python's own SHA-256. `hashlib` would load OpenSSL, which is larger than all else in a worker."""
    if not _sha256:
        try:
            from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore]  # since Python 3.12
        except ImportError:
            try:
                from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]
            except ImportError:  # some systems build Python without its own
                from hashlib import sha256
        _sha256.append(sha256)
    return _sha256[0]()


def _hash_all(folder: str, parent: int) -> Found:
    from hashlib import sha256

    def check(read: int) -> None:
        if os.getppid() != parent:  # the worker is gone; nobody waits for the answer
            os._exit(1)

    return _hash(folder, _walk(folder, ""), sha256, check)


def _hash(
    folder: str,
    found: Iterable[tuple[str, os.stat_result | None]],
    new: Callable[[], Any],
    check: Callable[[int], None],
) -> Found:
    """Hash everything that was found; `check` is called with the bytes read of a file so far."""
    files, skipped = [], []
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    for path, info in sorted(found, key=lambda pair: pair[0]):
        if info is None or not stat.S_ISREG(info.st_mode):
            skipped.append(path)
            continue
        try:
            fd = os.open(os.path.join(folder, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            skipped.append(path)
            continue
        try:
            digest, size, end = new(), 0, os.fstat(fd).st_size
            # What escaped from the script may go on writing, for ever and faster than this reads.
            while size < end and (count := os.readv(fd, [buffer])):
                count = min(count, end - size)
                digest.update(view[:count])
                size += count
                check(size)
        finally:
            os.close(fd)
        files.append((path, size, digest.hexdigest()))
    return tuple(files), tuple(skipped)


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """Everything below that is no folder, with what it is; None for what cannot be looked at."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        yield from _walk(entry.path, prefix + entry.name + "/")
                    else:
                        yield prefix + entry.name, entry.stat(follow_symlinks=False)
                except OSError:
                    yield prefix + entry.name, None
    except FileNotFoundError:
        pass
    except OSError:
        yield prefix or "./", None
