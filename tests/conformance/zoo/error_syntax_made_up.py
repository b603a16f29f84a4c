raise SyntaxError("made up", ("no-such-file.py", 3, 5, "the text\n"))
