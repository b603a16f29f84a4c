import mod, os
print(sorted(os.listdir(".")), os.listdir("__pycache__"))
