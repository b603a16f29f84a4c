"""The first descriptor a script opens is 3."""
import os
print(os.open("/dev/null", 0), os.dup(0), os.pipe())
