import pickle, shapes
print(pickle.loads(pickle.dumps(shapes.S())).x, pickle.dumps(shapes.S())[:40])
