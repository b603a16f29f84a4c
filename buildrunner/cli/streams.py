"""The standard streams, which say their own name when they take no more."""

import io
from typing import Any, TextIO

NAMES = {1: "standard output", 2: "standard error"}


class _Named(io.FileIO):
    """A descriptor whose errors name the stream where those of a file name its path."""

    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except OSError as exc:
            exc.filename = NAMES.get(self.fileno())
            raise


def named(stream: TextIO) -> TextIO:
    """The same stream, naming itself in errors; one that is no standard stream of a process is returned as it is."""
    try:
        fd = stream.fileno()
    except OSError:
        return stream
    if fd not in NAMES or type(stream) is not io.TextIOWrapper:
        return stream
    stream.flush()
    raw = _Named(fd, "wb", closefd=False)
    unbuffered = isinstance(stream.buffer, io.RawIOBase)  # by PYTHONUNBUFFERED
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),  # type: ignore[type-var, arg-type, unused-ignore]
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=unbuffered,
    )


def failed(exc: OSError) -> str | None:
    """Which stream it was that failed, and why; None when it was something else."""
    return f"{exc.filename}: {exc.strerror}" if exc.filename in NAMES.values() else None
