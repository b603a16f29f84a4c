"""`import __main__` gives the running module; importing it by name runs it once more."""
import __main__
import sys
print(__name__, __main__.__dict__ is globals())
if __name__ == "__main__":
    import main_imports_itself
    print(main_imports_itself.__name__, main_imports_itself.__spec__.name, main_imports_itself is __main__)
