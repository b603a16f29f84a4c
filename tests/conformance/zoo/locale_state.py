import locale, sys
print(locale.setlocale(locale.LC_ALL), locale.getlocale(), locale.getpreferredencoding(), locale.getencoding())
print(sys.getdefaultencoding(), sys.getfilesystemencoding(), sys.getfilesystemencodeerrors(), sys.flags.utf8_mode)
import os
print({k: v for k, v in os.environ.items() if k.startswith(("LC_", "LANG"))})
