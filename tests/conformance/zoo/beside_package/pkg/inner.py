print('inner', __package__)
class C:
    def __del__(self): print('del of inner', C)
c = C()
