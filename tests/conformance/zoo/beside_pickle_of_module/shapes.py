class S:
    def __init__(self): self.x = 1
