"""A child that outlives its parent is ended with the attempt."""
import os, time
if not os.fork():
    os.close(1); os.close(2)
    time.sleep(30)
print("parent")
