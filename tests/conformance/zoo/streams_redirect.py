import contextlib, io
with contextlib.redirect_stdout(io.StringIO()) as f: print("caught")
print(repr(f.getvalue()))
with contextlib.redirect_stderr(f): 1 / 0
