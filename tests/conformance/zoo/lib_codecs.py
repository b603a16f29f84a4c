import codecs
codecs.register(lambda n: codecs.lookup("utf-8") if n == "mine" else None)
print("ü".encode("mine"), codecs.lookup("idna").name)
