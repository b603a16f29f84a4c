import sys, zipfile
with zipfile.ZipFile("lib.zip", "w") as z: z.writestr(zipfile.ZipInfo("inzip.py"), "print(__file__.rsplit('/', 2)[1:], __loader__.__class__)")
sys.path.insert(0, "lib.zip")
import inzip
