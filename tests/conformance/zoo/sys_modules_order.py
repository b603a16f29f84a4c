"""In which order they came."""
import sys
print(*sys.modules, sep="\n")
