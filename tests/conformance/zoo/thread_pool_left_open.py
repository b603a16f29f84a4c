import concurrent.futures as c, time
pool = c.ThreadPoolExecutor(1)
fs = [pool.submit(lambda i=i: (time.sleep(0.02), print("job", i))) for i in range(3)]
print("main ends")
