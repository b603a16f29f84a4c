import sys, io
print("before")
sys.stdout = io.StringIO()
print("into a string"); print(repr(sys.stdout.getvalue()), file=sys.stderr)
