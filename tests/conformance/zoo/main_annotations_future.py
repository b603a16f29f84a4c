from __future__ import annotations
x: Undefined = 1
print(__annotations__)
