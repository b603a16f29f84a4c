import random
random.seed(3); print(random.random(), random.sample(range(100), 5))
