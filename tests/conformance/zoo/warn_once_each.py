"""A warning shown in one script is shown in the next one too."""
import warnings
for i in range(3):
    warnings.warn("the same in every script", UserWarning)
