import warnings
warnings.filters = None
left = open("/dev/null", "rb")
print("still passes")
