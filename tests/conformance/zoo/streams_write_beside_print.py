import os
print("first in text, last in file")
os.write(1, b"written\n")
