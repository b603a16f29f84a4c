print(locals() is globals())
exec("inside = 1")
print(inside, "inside" in vars())
