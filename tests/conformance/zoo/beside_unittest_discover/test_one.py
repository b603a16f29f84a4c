import unittest
class T(unittest.TestCase):
    def test(self): self.assertTrue(0)
