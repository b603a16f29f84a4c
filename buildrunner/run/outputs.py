"""What an attempt left in its output folder, hashed in a short-lived child so that the worker stays small."""

import marshal
import os
import stat

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


def _hash_all(folder: str, parent: int) -> Found:
    from hashlib import sha256

    files, skipped = [], []
    buffer = bytearray(1 << 18)
    view = memoryview(buffer)
    for path, info in sorted(_walk(folder, ""), key=lambda found: found[0]):
        if info is None or not stat.S_ISREG(info.st_mode):
            skipped.append(path)
            continue
        try:
            fd = os.open(os.path.join(folder, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            skipped.append(path)
            continue
        digest, size = sha256(), 0
        while count := os.readv(fd, [buffer]):
            digest.update(view[:count])
            size += count
            if os.getppid() != parent:  # the worker is gone; nobody waits for the answer
                os._exit(1)
        os.close(fd)
        files.append((path, size, digest.hexdigest()))
    return tuple(files), tuple(skipped)


def _walk(folder: str, prefix: str) -> list[tuple[str, os.stat_result | None]]:
    """Everything below that is no folder, with what it is; None for what cannot be looked at."""
    found: list[tuple[str, os.stat_result | None]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        found += _walk(entry.path, prefix + entry.name + "/")
                    else:
                        found.append((prefix + entry.name, entry.stat(follow_symlinks=False)))
                except OSError:
                    found.append((prefix + entry.name, None))
    except FileNotFoundError:
        pass
    except OSError:
        found.append((prefix or "./", None))
    return found
