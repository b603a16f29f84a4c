try:
    import numpy as np
    a = np.ones((300, 300)); print((a @ a).sum(), np.linalg.inv(np.eye(50) * 2).sum())
except ImportError: print("no numpy")
