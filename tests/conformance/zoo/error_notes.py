e = ValueError("v")
e.add_note("a note: ü")
e.add_note("another\nof two lines")
raise e
