import multiprocessing as m, logging
m.log_to_stderr(logging.INFO)
p = m.get_context("fork").Process(target=len, args=("x",)); p.start(); p.join()
