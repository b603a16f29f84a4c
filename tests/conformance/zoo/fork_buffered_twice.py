"""What was not flushed before a fork is printed by both."""
import os
print("before")
pid = os.fork()
if pid: os.waitpid(pid, 0)
print("parent" if pid else "child")
