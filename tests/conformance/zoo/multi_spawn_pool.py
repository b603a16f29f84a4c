import multiprocessing as m
class C:
    def __init__(self, x): self.x = x
def f(c): return C(c.x + 1)
if __name__ == "__main__":
    with m.get_context("spawn").Pool(1) as pool: print([c.x for c in pool.map(f, [C(1), C(2)])], type(pool.apply(f, [C(1)])))
