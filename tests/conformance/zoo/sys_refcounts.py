"""Nobody else holds what a script makes."""
import sys, gc
thing = object()
print(sys.getrefcount(thing), sys.getrefcount(globals()) , len(gc.get_referrers(thing)))
