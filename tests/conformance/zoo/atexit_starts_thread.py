import atexit, threading
def f():
    try:
        t = threading.Thread(target=print, args=("in thread",)); t.start(); t.join()
    except BaseException as exc: print(type(exc), exc)
atexit.register(f)
