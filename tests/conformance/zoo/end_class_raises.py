class P:
    @property
    def __class__(self): raise RuntimeError("Working outside")
p = P()
class Q: pass
print("ok")
