print('never: it is not on the path at start')
