f = open("left", "w"); f.write("before the error")
1 / 0
