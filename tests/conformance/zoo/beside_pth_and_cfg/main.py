print("pyvenv.cfg beside changes nothing")
import sys
print(sys.prefix)
