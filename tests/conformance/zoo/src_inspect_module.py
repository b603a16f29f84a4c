import inspect, sys
m = sys.modules["__main__"]
print(inspect.getsource(m), inspect.getfile(m), inspect.getmodulename(__file__), inspect.getdoc(m))
