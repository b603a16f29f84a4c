import sys
sys.exit("\udcff lone")
