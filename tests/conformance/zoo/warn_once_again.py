"""The same text and line as in the script before it."""
import warnings
for i in range(3):
    warnings.warn("the same in every script", UserWarning)
