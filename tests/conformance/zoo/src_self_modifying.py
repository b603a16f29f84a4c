import sys
text = open(__file__).read()
open(__file__, "a").write("print('appended, and not run')\n")
print("appended" in text)
