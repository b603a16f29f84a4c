raise SyntaxError("made up", (__file__, 1, 7, None))
