class P:
    @property
    def __class__(self):
        print("evaluated", flush=True); return int
p = P()
class Q: pass
