print('pkg', __name__, __path__[0].rsplit('/', 1)[-1])
from . import inner
