import os
f = os.fdopen(os.open("left", os.O_WRONLY | os.O_CREAT), "w"); f.write("by descriptor")
