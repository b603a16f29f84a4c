with open(__file__, "w") as f:
    f.write("# one\n# two\n# three\n# the new fourth line\n")
1 / 0
