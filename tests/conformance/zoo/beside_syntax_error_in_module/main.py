"""Its traceback has the line that imported it."""
import broken
