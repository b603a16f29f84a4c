import unittest
unittest.main(module=None, argv=["x", "discover"])
