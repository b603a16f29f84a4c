"""`__main__` is the script's own module, in sys.modules too."""
import sys
main = sys.modules["__main__"]
print(main.__dict__ is globals(), type(main), main is __import__("__main__"), repr(main))
