import unittest
class T(unittest.TestCase):
    def test_a(self):
        with self.assertLogs("x") as l: __import__("logging").getLogger("x").error("e")
unittest.main(argv=["x"])
