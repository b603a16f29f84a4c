import multiprocessing as m
if __name__ == "__main__":
    with m.Manager() as manager:
        d = manager.dict(a=1); d["b"] = 2; print(sorted(d.items()))
