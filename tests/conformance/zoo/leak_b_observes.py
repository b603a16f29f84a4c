import builtins, os, sys, gc, signal, resource
print(hasattr(builtins, "leaked"), hasattr(os, "leaked"), hasattr(sys, "leaked"), "leaked" in sys.modules, "/leaked" in sys.path)
print(os.getcwd() != "/leaked", sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold(), sys.argv[1:])
print(signal.getsignal(signal.SIGTERM), signal.pthread_sigmask(signal.SIG_BLOCK, ()), resource.getrlimit(resource.RLIMIT_NOFILE))
print(os.environ.get("LEAKED"), oct(os.umask(0)), os.getpriority(0, 0), sys.get_int_max_str_digits(), sys.dont_write_bytecode)
