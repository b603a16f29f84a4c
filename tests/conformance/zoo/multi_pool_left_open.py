import multiprocessing as m
pool = m.get_context("fork").Pool(1); print(pool.apply(abs, (-1,)))
