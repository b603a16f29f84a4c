import multiprocessing as m
def f(): raise ValueError("spawned")
if __name__ == "__main__":
    p = m.get_context("spawn").Process(target=f, name="mine"); p.start(); p.join(); print(p.exitcode)
