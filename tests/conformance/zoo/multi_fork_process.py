import multiprocessing as m
def f(q): print("child", m.current_process().name, __name__, flush=True); q.put(m.parent_process().name)
c = m.get_context("fork"); q = c.Queue()
p = c.Process(target=f, args=(q,)); p.start(); print(q.get()); p.join(); print(p.exitcode)
