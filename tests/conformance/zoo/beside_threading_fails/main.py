"""At the end the interpreter asks for `threading` only where it was imported."""
print("end")
