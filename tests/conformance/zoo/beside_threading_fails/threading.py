raise ImportError('mine')
