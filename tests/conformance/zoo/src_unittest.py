import unittest
class T(unittest.TestCase):
    def test_a(self): self.assertEqual(1, 1)
    def test_b(self): self.assertEqual([1, 2], [1, 3])
    def test_c(self): raise KeyError("k")
    @unittest.skip("why")
    def test_d(self): ...
    def test_e(self):
        import warnings; warnings.warn("old", DeprecationWarning)
if __name__ == "__main__": unittest.main(verbosity=2)
