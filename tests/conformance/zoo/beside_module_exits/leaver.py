import sys
sys.exit('from a module')
