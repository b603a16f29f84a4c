import os
print("lost")
os.close(1)
1 / 0
