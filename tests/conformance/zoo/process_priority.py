import os
print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.sched_getaffinity(0) == set(range(os.cpu_count())))
print(open("/proc/self/oom_score_adj").read(), open("/proc/self/timerslack_ns").read())
