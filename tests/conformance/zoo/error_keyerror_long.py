raise KeyError("a" * 300, {"x": [1, 2]})
