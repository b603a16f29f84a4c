class C:
    def __del__(self): raise ValueError("v")
C()
c = C()
print("end")
