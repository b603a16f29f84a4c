import contextlib
@contextlib.contextmanager
def m():
    print("in")
    try: yield
    finally: print("out")
c = m(); c.__enter__()
stack = contextlib.ExitStack(); stack.callback(print, "never")
