import gc
gc.set_debug(gc.DEBUG_UNCOLLECTABLE | gc.DEBUG_SAVEALL)
class C: ...
c = C(); c.c = c; del c
gc.collect(); print(len(gc.garbage) > 0)
