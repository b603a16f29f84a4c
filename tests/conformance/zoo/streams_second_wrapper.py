import io, sys
out = io.TextIOWrapper(open(1, "wb", closefd=False), "utf-8")
out.write("by a second wrapper\n"); print("by the first")
