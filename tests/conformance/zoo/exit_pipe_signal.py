import os, signal
print("SIGPIPE is", signal.getsignal(signal.SIGPIPE))
os.kill(os.getpid(), signal.SIGPIPE)
print("ignored")
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
print("flushed", flush=True)
os.kill(os.getpid(), signal.SIGPIPE)
