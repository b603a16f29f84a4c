import sys
class C: sys.exit(13)
