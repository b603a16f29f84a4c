import builtins
class C:
    def __del__(self): print("del", builtins and "builtins")
builtins.held = C()
