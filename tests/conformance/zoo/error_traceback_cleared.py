e = ValueError("v")
try: raise e
except ValueError as x: x.__traceback__ = None; y = x
raise y.with_traceback(None)
