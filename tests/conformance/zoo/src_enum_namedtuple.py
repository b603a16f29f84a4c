import enum, collections, typing, pickle
E = enum.Enum("E", "A B"); N = collections.namedtuple("N", "x y")
class F(enum.Flag): A = enum.auto(); B = enum.auto()
class T(typing.NamedTuple): a: int = 1
D = typing.TypedDict("D", {"x": int})
print(E.__module__, N.__module__, D.__module__, repr(E.A), pickle.loads(pickle.dumps([E.A, N(1, 2), F.A | F.B, T()])))
