mine = 'beside'
