import sys
def audit(event, args):
    if event.startswith(("cpython", "gc", "sys.")):
        sys.__stdout__.write(event + "\n")
        sys.__stdout__.flush()
sys.addaudithook(audit)
