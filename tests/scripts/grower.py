"""Leaves a process behind, in a session of its own, that makes an output file longer faster than anybody reads it.

It begins when somebody else has opened the file, and ends when it is ended.
"""

import os
import sys
import time

SIZE = 256 << 20  # of a hole: no disk is filled by it
path = os.path.join(os.environ["BUILDRUNNER_OUTPUT_DIR"], "grows")
with open(path, "wb") as file:
    file.truncate(SIZE)
worker = os.getppid()


def opened():
    with open(f"/proc/{worker}/task/{worker}/children") as file:
        children = file.read().split()
    for child in children:
        try:
            if any(os.readlink(f"/proc/{child}/fd/{fd}") == path for fd in os.listdir(f"/proc/{child}/fd")):
                return True
        except OSError:
            pass
    return False


reader, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.write(writer, b"out of its group")
    while not opened():
        pass
    with open(sys.argv[1], "w") as file:
        file.write("grows")
    while True:
        size = os.stat(path).st_size
        os.truncate(path, min(size + (16 << 20), 1 << 40))
        time.sleep(0.001)
os.read(reader, 1)  # in its group it would end with this script
