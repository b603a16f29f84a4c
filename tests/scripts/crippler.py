"""Takes away from its worker what may be taken away from another process of the same user."""

import os
import resource
import sys

worker = os.getppid()
match sys.argv[1]:
    case "descriptors":
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, 3))
    case "file-size":
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (1, 1))
    case "processes":
        resource.prlimit(worker, resource.RLIMIT_NPROC, (1, 1))
    case "memory":
        resource.prlimit(worker, resource.RLIMIT_AS, (1 << 20, 1 << 20))
    case "time":
        resource.prlimit(worker, resource.RLIMIT_CPU, (1, 1))
    case "cpus":
        os.sched_setaffinity(worker, {max(os.sched_getaffinity(0))})
    case "nice":
        os.setpriority(os.PRIO_PROCESS, worker, 19)
