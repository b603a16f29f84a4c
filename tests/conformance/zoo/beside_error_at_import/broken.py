value = 1
raise RuntimeError('while imported')
