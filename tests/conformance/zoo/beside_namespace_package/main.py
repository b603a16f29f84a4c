"""A folder without __init__.py."""
import ns.part
print(ns.__path__, ns.__spec__.origin)
