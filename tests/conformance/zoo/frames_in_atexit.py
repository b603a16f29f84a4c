import atexit, traceback
atexit.register(traceback.print_stack)
