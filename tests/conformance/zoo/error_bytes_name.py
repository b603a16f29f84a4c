import os
os.stat(b"\xff/none")
