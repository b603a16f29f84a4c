import os, signal
print("flushed", flush=True)
os.killpg(0, signal.SIGTERM)
