import sys
for s in (sys.stdin, sys.stdout, sys.stderr):
    print(s, s.line_buffering, s.write_through, s.encoding, s.errors, s.newlines, s.buffer, s.closed, s.fileno(), s.seekable())
    print(getattr(s.buffer, "raw", None), s.mode, s.name, s is getattr(sys, f"__{s.name[1:-1]}__"))
