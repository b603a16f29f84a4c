import gc
f = open("written", "w")
f.write("abc\n")
gc.freeze()
