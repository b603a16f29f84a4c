import tempfile, warnings
warnings.simplefilter("always")
d = tempfile.TemporaryDirectory()
