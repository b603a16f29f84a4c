"""A script's own frame is the outermost."""
import sys
frame, depth = sys._getframe(), 0
while frame:
    print(depth, frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno)
    frame, depth = frame.f_back, depth + 1
