import sys
def profile(frame, event, arg):
    if sys and frame.f_code.co_filename == __file__:
        print(event, frame.f_code.co_name, getattr(arg, "__name__", arg))
def f(): len("x")
sys.setprofile(profile)
f()
