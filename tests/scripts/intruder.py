"""Reaches for its worker's journal and queue through /proc and writes into both what is none of the worker's words.

Only root, or a user whose system lets processes of one user look into each other, gets that far.
"""

import ctypes
import marshal
import os
import stat
import sys
import time

PIDFD_GETFD = 438  # a system call with one number everywhere
worker = os.getppid()
what = sys.argv[1]
folder = f"/proc/{worker}/fd"

if what in ("journal", "truncate"):
    [journal] = [p for fd in os.listdir(folder) if (p := os.readlink(f"{folder}/{fd}")).endswith(".journal")]
    if what == "truncate":
        os.truncate(journal, 0)
    else:
        with open(journal, "ab", buffering=0) as file:
            file.write(b"no line of ours\n" + b"00000000 ()\n" + b"cut short")
elif what == "queue":
    pidfd = os.pidfd_open(worker)
    [queue] = [int(fd) for fd in ("1", "3") if os.readlink(f"{folder}/{fd}").startswith("socket:")]  # cold or warm
    stolen = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, pidfd, queue, 0)
    assert stolen >= 0, os.strerror(ctypes.get_errno())
    assert stat.S_ISSOCK(os.fstat(stolen).st_mode)
    forged = {
        "garbage": b"\xffgarbage",
        "shape": marshal.dumps(("receipt", ("not", "enough"))),
        "number": marshal.dumps(7),
    }[sys.argv[2]]
    os.write(stolen, len(forged).to_bytes(4, "big") + forged)
    time.sleep(600)
print("reached", what, flush=True)
if "kill" in sys.argv:
    os.kill(worker, 9)
    time.sleep(600)
