import warnings, sys
print(*warnings.filters, sep="\n")
print(warnings.defaultaction, warnings.onceregistry, sys.modules.get("warnings") is warnings)
import _warnings
print(_warnings.filters is warnings.filters)
