import tempfile, os
f = tempfile.NamedTemporaryFile(dir="."); d = tempfile.TemporaryDirectory(dir=".")
k = tempfile.NamedTemporaryFile(dir=".", delete=False); k.write(b"kept")
print(sorted(len(n) for n in os.listdir(".")), tempfile.gettempdir() == os.environ["TMPDIR"])
