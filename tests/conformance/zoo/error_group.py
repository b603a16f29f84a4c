def f():
    excs = []
    for t in (ValueError, KeyError):
        try:
            raise t("x")
        except Exception as e:
            excs.append(e)
    raise ExceptionGroup("some", [excs[0], ExceptionGroup("inner", excs[1:])])
f()
