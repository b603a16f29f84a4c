import shelve
s = shelve.open("left", writeback=True); s["a"] = [1]; s["a"].append(2)
