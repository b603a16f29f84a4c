"""Nothing has been raised yet."""
import sys
print(hasattr(sys, "last_type"), hasattr(sys, "last_traceback"), hasattr(sys, "ps1"), sys.exc_info())
