import a
print(a.value)
from c import x
