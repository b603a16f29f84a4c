from __future__ import annotations
import dataclasses, typing
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class D:
    x: int
    y: typing.ClassVar[str] = "c"
    z: list[D] = dataclasses.field(default_factory=list)
print(D(x=1), dataclasses.fields(D)[0].type, typing.get_type_hints(D))
