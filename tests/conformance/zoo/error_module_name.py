class E(Exception):
    __module__ = "else.where"
raise E("x")
