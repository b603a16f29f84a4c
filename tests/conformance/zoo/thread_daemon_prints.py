"""A daemon's output after the main thread's end is lost with it."""
import threading
go = threading.Event()
def f():
    go.wait(); go.wait(30)
threading.Thread(target=f, daemon=True).start()
print("main ends")
