import concurrent.futures as c
with c.ThreadPoolExecutor(1) as pool:
    print(pool.submit(pow, 2, 3).result())
    pool.submit(lambda: 1 / 0).result()
