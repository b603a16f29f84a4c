import runpy, sys
if __name__ == "__main__":
    d = runpy.run_path(__file__, run_name="other")
    print(d["__name__"], d["__file__"] == __file__, d["__spec__"], sys.argv[0] == __file__)
    print(runpy.run_module("keyword")["__name__"])
else: print("as", __name__, sys.argv[0].rsplit("/")[-1], sys.modules[__name__].__name__)
