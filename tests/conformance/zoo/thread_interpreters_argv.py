try:
    import _xxsubinterpreters as i
except ImportError:
    import _interpreters as i
print(i.run_string(i.create(), "import sys; print(sys.argv, sys.orig_argv[1:] == sys.argv)"))
