import faulthandler, time
faulthandler.dump_traceback_later(0.02, exit=True)
def f(): time.sleep(10)
f()
