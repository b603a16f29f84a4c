print(repr(input("prompt: ")))
