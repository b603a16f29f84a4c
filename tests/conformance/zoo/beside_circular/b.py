import a
value = getattr(a, 'value', 'not yet')
