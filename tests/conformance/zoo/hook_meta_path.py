import sys, types
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        print("looked for", name)
sys.meta_path.insert(0, Finder)
try:
    import not_there_at_all
except ImportError as exc:
    print(exc)
