"""Opening files that a script, or anybody else, may have put something else in the place of."""

import errno
import os
import stat
from io import FileIO


def open_regular(path: str | os.PathLike[str], *, follow: bool = False) -> FileIO:
    """Open a regular file for reading, unbuffered; links are followed only when asked to.

    A pipe would be waited for, a device may have no end: FileNotFoundError for what is no regular file. Raises OSError.
    """
    link = 0 if follow else os.O_NOFOLLOW
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | link)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):  # the last one is said of a socket
            raise FileNotFoundError(exc.errno, "not a regular file", os.fspath(path)) from exc
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "not a regular file", os.fspath(path))
    return FileIO(fd, "rb")
