import warnings
warnings.warn("once")
warnings.warn("once")
print([k for k in __warningregistry__ if k != "version"])
