import multiprocessing as m, time
p = m.get_context("fork").Process(target=time.sleep, args=(0.05,)); p.start()
print("main ends")
