import os
out = os.environ["BUILDRUNNER_OUTPUT_DIR"]
print(os.listdir(out), oct(os.stat(out).st_mode))
open(os.path.join(out, "result.txt"), "w").write("x")
f = open(os.path.join(out, "unflushed.txt"), "w"); f.write("y")
