import sys
sys.stdout.write("no newline")
raise ValueError("v")
