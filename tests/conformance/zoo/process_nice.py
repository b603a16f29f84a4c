import os
print(os.nice(0)); print(os.nice(5) - os.nice(0))
