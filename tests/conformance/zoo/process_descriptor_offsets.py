import os
print(os.lseek(0, 0, 1), os.lseek(1, 0, 1), os.lseek(2, 0, 1))
os.write(1, b"x")
print(os.lseek(1, 0, 1), os.fstat(1).st_size)
