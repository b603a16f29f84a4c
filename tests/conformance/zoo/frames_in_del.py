import traceback
class C:
    def __del__(self): traceback.print_stack()
c = C()
