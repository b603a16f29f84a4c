code = compile("\n" * 500 + "1 / 0", __file__, "exec")
exec(code)
