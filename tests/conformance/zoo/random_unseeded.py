"""Differs each time, also cold: excluded by that alone."""
import random
print(random.random())
