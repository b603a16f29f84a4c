import multiprocessing as m, sys, atexit
atexit.register(print, "atexit of the parent only")
for code in (None, 3, "text"):
    p = m.get_context("fork").Process(target=sys.exit, args=(code,)); p.start(); p.join(); print(p.exitcode)
