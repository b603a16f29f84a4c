import locale
print(locale.setlocale(locale.LC_ALL, "C.UTF-8"), locale.localeconv()["decimal_point"])
