exec(compile("x = = 1", "<given>", "exec"))
