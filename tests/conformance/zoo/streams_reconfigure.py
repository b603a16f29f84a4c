import sys
sys.stdout.reconfigure(encoding="utf-16", errors="replace", line_buffering=True, newline="\r\n")
print("ü")
