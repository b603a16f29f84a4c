import csv
class Report:
    def __init__(self): self.f = open("left.csv", "w", newline=""); self.w = csv.writer(self.f)
    def __del__(self): self.w.writerow(["last"])
r = Report(); r.w.writerow([1, "ü"])
