def f(out=open("left", "w")): out.write("default argument")
f()
