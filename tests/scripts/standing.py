"""Prints what a process inherits: everything the script before it on the same worker might have spoiled."""

import json
import os
import resource
import signal

with open("/proc/self/status") as file:
    status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
limits = {n: resource.getrlimit(getattr(resource, n)) for n in sorted(dir(resource)) if n.startswith("RLIMIT_")}


def read(path):
    with open(path) as file:
        return file.read()


print(
    json.dumps(
        {
            "cwd": os.getcwd(),
            "umask": status["Umask"],
            "signals": {name: status[name] for name in ("SigBlk", "SigIgn", "SigPnd", "ShdPnd")},
            "ignored": [int(n) for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN],
            "limits": limits,
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "cpus": sorted(os.sched_getaffinity(0)),
            "policy": os.sched_getscheduler(0),
            "oom": read("/proc/self/oom_score_adj"),
            "dumps": read("/proc/self/coredump_filter"),
            "no_new_privileges": status["NoNewPrivs"],
            "capabilities": status["CapEff"],
            "stained": os.environ.get("STAINED"),
            "descriptors": sorted(os.listdir("/proc/self/fd"), key=int)[:-1],
            "input": os.readlink("/proc/self/fd/0"),
        }
    )
)
