import errno
raise OSError(errno.EPIPE, "broken", "file")
