f = open("left.txt", "w"); f.write("text ü")
