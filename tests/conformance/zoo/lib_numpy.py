try:
    import numpy as np
    a = np.arange(6.0).reshape(2, 3)
    print(a @ a.T, np.random.default_rng(1).random(), np.get_printoptions()["precision"], np.geterr())
    np.array([1.0]) / 0
except ImportError: print("no numpy")
