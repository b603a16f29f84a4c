x: int = 1
y: "str"
if True:
    z: list[int] = []
print(__annotations__)
