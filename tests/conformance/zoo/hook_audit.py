import sys
seen = []
def audit(event, args):
    if seen is not None and event in ("open", "compile", "os.system"):
        seen.append((event, str(args[0])[-20:]))
sys.addaudithook(audit)
open("x", "w").close()
compile("1", "s", "eval")
print(seen)
