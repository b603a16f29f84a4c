import multiprocessing as m
lock, value = m.Lock(), m.Value("i", 3)
def f():
    with lock: value.value += 1
ps = [m.Process(target=f) for _ in range(3)]
[p.start() for p in ps]; [p.join() for p in ps]
print(value.value)
