import json, weakref
class C:
    def __init__(self, n): self.n = n
    def __del__(self): print("del", self.n)
json.held = C("json")
json.decoder.held = C("json.decoder")
weakref.held = C("weakref")
