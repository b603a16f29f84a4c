import sys, threading
print({k == threading.get_ident(): v.f_code.co_filename for k, v in sys._current_frames().items()})
