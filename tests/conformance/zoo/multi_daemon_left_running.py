import multiprocessing as m, time
p = m.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True); p.start()
print("main ends")
