import os, sys, atexit
atexit.register(lambda me=os.getpid(): print("atexit", me == os.getpid()))
class C:
    def __del__(self): print("del")
c = C()
pid = os.fork()
if pid: print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
else: sys.exit(5)
