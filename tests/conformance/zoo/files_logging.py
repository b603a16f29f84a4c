import logging
logging.basicConfig(filename="left.log", level=logging.INFO)
logging.info("logged")
h = logging.handlers if hasattr(logging, "handlers") else None
logging.getLogger("a.b").warning("from %s", __name__)
