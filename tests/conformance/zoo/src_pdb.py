import pdb
pdb.run("x = 1\ny = 2")
