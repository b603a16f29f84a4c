print(hash("x"), hash(b"y"), {"a", "b", "c", "d"}, hash(None) == hash(None), object.__hash__(None) == 1)
