import leaver
print("never")
