"""What it calls holds nothing of the script's, so that the script's objects go before it."""
import weakref, sys
class C: ...
c = C()
sys.ref = weakref.ref(c, print)
