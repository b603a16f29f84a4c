import multiprocessing as m
q = m.get_context("fork").Queue(); q.put("x" * 10); q.cancel_join_thread(); print("end")
