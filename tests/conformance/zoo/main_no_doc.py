print(repr(__doc__), "__annotations__" in globals())
