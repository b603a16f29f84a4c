import code
code.InteractiveConsole({"x": 1}).runsource("print(x, __name__)")
code.InteractiveInterpreter().runsource("1/0")
