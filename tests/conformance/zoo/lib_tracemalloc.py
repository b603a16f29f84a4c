import tracemalloc
print(tracemalloc.is_tracing())
tracemalloc.start(2)
x = [0] * 1000
print(tracemalloc.get_object_traceback(x)); tracemalloc.stop()
