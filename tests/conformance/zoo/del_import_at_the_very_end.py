import sys
class C:
    def __del__(self):
        try:
            import colorsys
            print("imported")
        except BaseException as exc:
            print(type(exc), exc)
sys.held = C()
