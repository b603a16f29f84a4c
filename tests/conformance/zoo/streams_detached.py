import sys
out = sys.stdout.detach()
out.write(b"raw\n")
