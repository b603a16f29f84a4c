"""Described."""
import argparse
argparse.ArgumentParser(description=__doc__).parse_args(["--help"])
