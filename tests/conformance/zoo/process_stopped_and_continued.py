import os, signal
pid = os.fork()
if not pid:
    import time; time.sleep(0.05); os.kill(os.getppid(), signal.SIGCONT); os._exit(0)
os.kill(os.getpid(), signal.SIGSTOP); os.waitpid(pid, 0); print("continued")
