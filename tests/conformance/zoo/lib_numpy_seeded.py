try:
    import numpy as np
    np.random.seed(5); print(np.random.rand(3), np.random.get_state()[2])
except ImportError: print("no numpy")
