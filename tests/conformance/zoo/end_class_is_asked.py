class P:
    @property
    def __class__(self):
        print("evaluated"); return int
p = P()
class Q: pass
