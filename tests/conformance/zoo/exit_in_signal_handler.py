import os, signal, sys
signal.signal(signal.SIGTERM, lambda n, f: sys.exit(12))
os.kill(os.getpid(), signal.SIGTERM)
