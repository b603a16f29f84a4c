import argparse
p = argparse.ArgumentParser(description=__doc__)
p.add_argument("--x", type=int, required=True)
p.parse_args([])
