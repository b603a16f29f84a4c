import math, _random, array
print(math.__spec__.origin, _random.__name__)
