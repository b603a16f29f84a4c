try:
    import _xxsubinterpreters as i
    x = i.create(); i.run_string(x, "import sys; print(sys.argv == [''], __name__, len(sys.modules) > 5)")
    print("one more", len(i.list_all()))
except ImportError as exc: print(exc)
