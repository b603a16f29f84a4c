import multiprocessing as m
def f(): raise ValueError("in child")
p = m.get_context("fork").Process(target=f); p.start(); p.join(); print(p.exitcode)
