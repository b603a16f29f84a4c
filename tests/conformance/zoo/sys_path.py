"""Where modules are looked for: the script's folder first."""
import sys
print(*sys.path, sep="\n")
