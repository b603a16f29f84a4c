import multiprocessing as m
print(m.get_start_method(), m.get_all_start_methods(), m.current_process(), m.parent_process(), m.active_children())
