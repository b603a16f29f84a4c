def f():
    try:
        {}["k"]
    except KeyError as exc:
        raise ValueError("v") from exc
try:
    f()
except ValueError:
    raise RuntimeError("r")
