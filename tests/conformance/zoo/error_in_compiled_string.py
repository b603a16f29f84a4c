code = compile("\n\n1 / 0", "<made up>", "exec")
exec(code)
