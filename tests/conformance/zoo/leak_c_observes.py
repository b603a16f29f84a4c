import json, decimal, warnings, codecs, logging, linecache, locale
print(hasattr(json, "leaked"), decimal.getcontext().prec, warnings.filters[:2], logging.getLogger().level, linecache.cache)
try: codecs.lookup_error("leaked")
except LookupError as exc: print(exc)
print("é", input if False else "")
