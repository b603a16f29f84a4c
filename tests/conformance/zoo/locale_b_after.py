import locale, time
print(locale.setlocale(locale.LC_NUMERIC), locale.setlocale(locale.LC_TIME), time.strftime("%A", time.gmtime(0)))
