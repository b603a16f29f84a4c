"""Changes everything a process can change about itself, as thoroughly as it may."""

import ctypes
import os
import resource
import signal

os.chdir("/")
os.umask(0o777)
os.nice(5)
os.environ["STAINED"] = "yes"
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("777")
with open("/proc/self/coredump_filter", "w") as file:
    file.write("0x7f")
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
small = dict.fromkeys(("CORE", "MEMLOCK", "MSGQUEUE", "NICE", "NPROC", "RTPRIO", "RTTIME", "SIGPENDING"), 1)
for name, limit in {**small, "CPU": 60, "AS": 1 << 30, "STACK": 1 << 20, "NOFILE": 16, "FSIZE": 1}.items():
    kind = getattr(resource, "RLIMIT_" + name)
    hard = resource.getrlimit(kind)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, limit))
os._exit(0)
