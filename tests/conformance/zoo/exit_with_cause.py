try:
    1 / 0
except ZeroDivisionError as exc:
    raise SystemExit("because") from exc
