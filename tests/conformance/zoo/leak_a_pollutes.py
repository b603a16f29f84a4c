"""Changes everything one can reach; no script after it may see any of that."""
import builtins, os, sys, json, decimal, locale, gc, random, signal, resource, threading, warnings, codecs, logging, atexit, linecache
builtins.leaked = os.leaked = sys.leaked = json.leaked = 1
builtins.print_was, os.getcwd = print, lambda: "/leaked"
sys.path.append("/leaked"); sys.modules["leaked"] = json; sys.setrecursionlimit(5000); sys.setswitchinterval(1)
decimal.getcontext().prec = 3; gc.disable(); gc.set_threshold(1, 2, 3); random.seed(1)
signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 60)); resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
warnings.simplefilter("error"); codecs.register_error("leaked", len); logging.basicConfig(level=1); atexit.register(print, "polluted")
os.environ["LEAKED"] = "1"; os.chdir("/"); os.umask(0o77); os.nice(3); sys.set_int_max_str_digits(1000)
warnings.warn_explicit("x", UserWarning, "f", 1) if False else None
sys.dont_write_bytecode = True; sys.argv.append("leaked"); sys.flags_leaked = 1; linecache.cache["x"] = 1
sys.stdout.reconfigure(encoding="utf-16"); sys.stdin.close()
