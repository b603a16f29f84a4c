import fcntl
print([oct(fcntl.fcntl(fd, fcntl.F_GETFL)) for fd in range(3)])
