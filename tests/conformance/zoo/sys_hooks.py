"""The hooks a script can replace are as they were made."""
import sys, builtins
for name in ("excepthook", "displayhook", "unraisablehook", "breakpointhook"):
    print(name, getattr(sys, name), getattr(sys, name) is getattr(sys, f"__{name}__"))
print(sys.gettrace(), sys.getprofile(), sys.get_coroutine_origin_tracking_depth(), sys.get_asyncgen_hooks())
print(sorted(vars(builtins)))
