"""The arguments, as given and as the interpreter had them."""
import sys
print(sys.argv)
print([a if i else a.rsplit("/", 1)[-1] for i, a in enumerate(sys.orig_argv)])
