__builtins__ = {"print": print}
print("x"); exec("len", {"__builtins__": {}})
