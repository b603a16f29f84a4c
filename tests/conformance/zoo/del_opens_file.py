class C:
    def __del__(self):
        with open("left.txt", "w") as f: f.write("from del")
c = C()
