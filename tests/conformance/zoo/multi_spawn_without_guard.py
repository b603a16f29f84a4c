import multiprocessing as m
p = m.get_context("spawn").Process(target=print); p.start(); p.join(); print(p.exitcode)
