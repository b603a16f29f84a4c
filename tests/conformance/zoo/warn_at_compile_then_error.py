x = 1
print("\d")
if x is 1: print("yes")
print "no"
