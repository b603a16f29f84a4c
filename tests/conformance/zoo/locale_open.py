open("left", "w").write("ü")
print(open("left", "rb").read(), open("left").encoding)
