import sys
sys.stdout = open("left.txt", "w")
print("into a file")
