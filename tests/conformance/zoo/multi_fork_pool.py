import multiprocessing as m
def f(x): return x * x
with m.get_context("fork").Pool(2) as pool: print(pool.map(f, range(5)))
