"""The environment as other processes see it."""
import os
shown = dict(p.partition(b"=")[::2] for p in open("/proc/self/environ", "rb").read().split(b"\0") if p)
print(sorted(k for k in shown if shown[k] == os.environb.get(k)), sorted(set(os.environb) - set(shown)))
