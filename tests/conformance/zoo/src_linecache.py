import linecache, inspect
def f():
    return "source of f"
class C:
    """of C"""
print(inspect.getsource(f), inspect.getsource(C), inspect.getsourcefile(f), inspect.getmodule(f))
print(linecache.getline(__file__, 1), sorted(k.rsplit("/")[-1] for k in linecache.cache)[:3])
