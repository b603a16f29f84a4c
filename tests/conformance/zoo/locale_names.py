import os
open("ü", "w").close(); open(b"\xff", "w").close()
print(sorted(map(ascii, os.listdir("."))), ascii(os.fsdecode(b"\xff")))
