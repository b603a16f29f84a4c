import os
open("left", "w").close(); os.mkdir("folder")
print(oct(os.umask(0)))
open("left2", "w").close()
