import cProfile, pstats
p = cProfile.Profile(); p.enable()
def f(): return sum(range(3))
f(); p.disable()
print(sorted(k[2] for k in pstats.Stats(p).stats))
