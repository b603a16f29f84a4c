import mmap
with open("left", "wb") as f: f.write(b"0" * 4096)
f = open("left", "r+b"); m = mmap.mmap(f.fileno(), 0); m[:4] = b"mmap"
