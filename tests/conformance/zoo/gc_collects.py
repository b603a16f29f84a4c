import gc
class C: ...
gc.collect()
for i in range(10):
    c = C(); c.c = c
del c
print(gc.collect())
