import sys
sys.stdout.write("line\n" * 200_000)
sys.stderr.write("e" * 100_000)
