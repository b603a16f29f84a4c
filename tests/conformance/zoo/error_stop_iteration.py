raise StopIteration(3)
