"""What a script's globals hold at its first line, in order."""
print(list(globals()))
