f = open("left.bin", "wb"); f.write(b"\0binary")
