try:
    import tkinter
    tkinter.Tk()
except Exception as exc: print(type(exc).__name__)
except ImportError: print("no tkinter")
