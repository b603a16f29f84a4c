"""Data by the script's folder and by the working directory."""
import os
print(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "data.txt")).read())
