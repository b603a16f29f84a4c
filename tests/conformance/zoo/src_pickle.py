import pickle, copy
class C:
    def __init__(self, x): self.x = x
    def __eq__(self, o): return self.x == o.x
def f(): ...
data = pickle.dumps([C(1), f, C])
print(data, pickle.loads(data)[0] == C(1), pickle.loads(data)[1] is f, copy.deepcopy(C([1])).x)
