import multiprocessing as m, work
flag = "set"
if __name__ == "__main__":
    with m.get_context("spawn").Pool(1) as p: print(p.map(work.f, [1]))
