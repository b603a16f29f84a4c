import os
ours = {k for k in os.environ if k.startswith("BUILDRUNNER_")}
print(*[k for k in os.environ], sep="\n")
print({k: v for k, v in os.environ.items() if k not in ours})
