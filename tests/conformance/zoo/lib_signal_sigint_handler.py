import signal
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.signal(signal.SIGINT, signal.SIG_DFL))
