import warnings
warnings.simplefilter("always")
f = open("left.txt", "w")
f.write("text")
del f
g = open("left2.txt", "w")
