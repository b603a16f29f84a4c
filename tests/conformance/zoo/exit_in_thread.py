import sys, threading
def f():
    print("in", flush=True)
    sys.exit(5)
t = threading.Thread(target=f); t.start(); t.join()
print("on")
