import multiprocessing as m, os
def f(): print("child", __name__, os.getcwd() == "/", flush=True)
if __name__ == "__main__":
    os.chdir("/")
    p = m.get_context("spawn").Process(target=f); p.start(); p.join(); print(p.exitcode)
