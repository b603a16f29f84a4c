import sys, enum
class Code(enum.IntEnum):
    FOUR = 4
sys.exit(Code.FOUR)
