print("ü 漢字 🎉")
import sys
print("ü 漢字", file=sys.stderr)
