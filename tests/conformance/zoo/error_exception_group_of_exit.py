try:
    raise ExceptionGroup("g", [ValueError(1)])
except* ValueError as g:
    raise KeyError("k") from g
