import fcntl, os, stat
for fd in range(3):
    print(fd, oct(fcntl.fcntl(fd, fcntl.F_GETFL)), fcntl.fcntl(fd, fcntl.F_GETFD), stat.filemode(os.fstat(fd).st_mode), os.isatty(fd))
