"""The interpreter by all its names."""
import sys
print(sys.executable, sys._base_executable, sys.prefix, sys.base_prefix, sys.exec_prefix, sys.platlibdir)
print(sys.version, sys.implementation.name, sys.api_version)
