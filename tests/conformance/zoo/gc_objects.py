import gc
print([type(o).__name__ for o in gc.get_objects() if getattr(o, "__module__", "") == "__main__" and isinstance(o, type)])
class Mine: ...
print([o.__name__ for o in gc.get_objects() if isinstance(o, type) and o.__module__ == "__main__"], len([o for o in gc.get_objects() if type(o).__name__ == "frame"]))
