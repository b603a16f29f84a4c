import pty, os
pid, fd = pty.fork()
if not pid: print("in pty", os.isatty(1)); os._exit(0) if False else None
else:
    data = b""
    try:
        while part := os.read(fd, 100): data += part
    except OSError: pass
    os.waitpid(pid, 0); print(data)
