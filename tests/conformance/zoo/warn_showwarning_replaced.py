import warnings, sys
warnings.showwarning = lambda *a, **k: print("shown", a[0], a[2].rsplit("/")[-1], a[3])
warnings.warn("hello")
class C:
    def __del__(self): warnings.warn("late")
c = C()
