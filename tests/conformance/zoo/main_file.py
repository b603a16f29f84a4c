"""`__file__` as given, and no cached file."""
import os
print(__file__, os.path.abspath(__file__) == os.path.join(os.getcwd(), os.path.basename(__file__)), __cached__)
