import os
f = open("left", "w"); f.write("lost"); os._exit(0)
