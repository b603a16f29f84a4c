class C:
    def __del__(self):
        import keyword
        print(keyword.iskeyword("if"))
        try:
            import colorsys
            print(colorsys.__name__)
        except ImportError as exc:
            print(exc)
c = C()
