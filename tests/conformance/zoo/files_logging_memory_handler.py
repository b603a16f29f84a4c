import logging, logging.handlers, sys
m = logging.handlers.MemoryHandler(100, target=logging.StreamHandler(sys.stdout))
logging.getLogger().addHandler(m); logging.getLogger().warning("kept until the end")
