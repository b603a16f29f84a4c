"""Finders and hooks, and what they have cached."""
import sys
print(sys.meta_path, sys.path_hooks)
print(*sorted(sys.path_importer_cache), sep="\n")
print(*sorted(str(v) for v in sys.path_importer_cache.values()), sep="\n")
