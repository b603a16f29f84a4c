import multiprocessing as m
value = "module level"
print("top", __name__)
def f(q): q.put((__name__, value, __file__.rsplit("/")[-1]))
class C: x = 1
if __name__ == "__main__":
    c = m.get_context("spawn"); q = c.Queue()
    p = c.Process(target=f, args=(q,)); p.start(); print(q.get()); p.join(); print(p.exitcode)
