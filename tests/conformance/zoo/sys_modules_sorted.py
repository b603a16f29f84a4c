"""Which modules are there when a script begins."""
import sys
print(*sorted(sys.modules), sep="\n")
