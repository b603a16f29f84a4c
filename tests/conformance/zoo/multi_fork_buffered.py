"""What was printed before a fork and not flushed comes once: the child ends by os._exit."""
import multiprocessing as m
print("before")
p = m.get_context("fork").Process(target=print, args=("in child",)); p.start(); p.join()
