"""A script's own clock begins with it."""
import time, os, resource
print(time.process_time() < 1.0, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime, os.times().children_user, time.thread_time() < 1.0)
