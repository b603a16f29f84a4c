import resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
sys.setrecursionlimit(10**9)
def f(): f()
x = []
for i in range(200_000): x = [x]
print("built"); del x; print("freed")
