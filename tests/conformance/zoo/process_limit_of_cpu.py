import resource, signal
resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
print(resource.getrlimit(resource.RLIMIT_CPU), signal.getsignal(signal.SIGXCPU))
