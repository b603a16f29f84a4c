import sys
def audit(event, args):
    if event.startswith(("cpython", "gc", "sys.")):
        sys.__stdout__.write(event + "\n")
sys.addaudithook(audit)
