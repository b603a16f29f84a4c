class Leave(SystemExit):
    @property
    def code(self): return 6
raise Leave(5)
