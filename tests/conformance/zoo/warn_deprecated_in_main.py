"""DeprecationWarning is shown for `__main__` only."""
import warnings
warnings.warn("old", DeprecationWarning)
warnings.warn("pending", PendingDeprecationWarning)
warnings.warn("import", ImportWarning)
warnings.warn("resource", ResourceWarning)
