import concurrent.futures as c
def f(x): return x * 2
if __name__ == "__main__":
    with c.ProcessPoolExecutor(1) as pool: print(list(pool.map(f, range(3))))
    pool = c.ProcessPoolExecutor(1); fut = pool.submit(f, 21); print(fut.result())
