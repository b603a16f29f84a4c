import inspect, traceback
def f():
    traceback.print_stack()
    print([(i.function, i.filename, i.lineno, i.code_context) for i in inspect.stack()])
f()
