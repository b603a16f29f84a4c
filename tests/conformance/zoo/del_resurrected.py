class C:
    def __del__(self):
        global kept
        kept = self
        print("del", kept)
c = C()
del c
print("kept" in globals())
