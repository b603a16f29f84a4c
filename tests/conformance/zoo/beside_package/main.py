"""A package beside the script; its globals die too."""
import pkg
from pkg.inner import C
print(C.__module__)
