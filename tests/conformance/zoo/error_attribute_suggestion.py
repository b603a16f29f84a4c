import math
math.sqtr(1)
