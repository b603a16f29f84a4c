import multiprocessing as m
def f(x): return x + 1
if __name__ == "__main__":
    with m.get_context("forkserver").Pool(1) as pool: print(pool.map(f, [1, 2]))
