"""Everything in the module's dictionary is taken away by the script itself."""
import sys
print("before")
globals().clear()
