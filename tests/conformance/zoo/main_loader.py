"""Its loader is a SourceFileLoader of `__main__` that can hand out the source."""
print(type(__loader__), vars(__loader__), __loader__.name)
print(__loader__.get_source("__main__")[:30], __loader__.is_package("__main__"), __loader__.get_filename())
