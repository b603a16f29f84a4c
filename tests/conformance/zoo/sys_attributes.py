"""Names in sys, and the simple values among them."""
import sys
print(*sorted(vars(sys)), sep="\n")
for name in sorted(vars(sys)):
    value = getattr(sys, name)
    if isinstance(value, (str, int, tuple, type(None))) and name not in ("orig_argv",):
        print(name, repr(value))
