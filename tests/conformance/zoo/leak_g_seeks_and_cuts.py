"""Moves shared offsets, changes the flags of its descriptors' open files."""
import fcntl, os
for fd in range(3):
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)
os.lseek(1, 0, 2); os.ftruncate(1, 10)
print("x")
