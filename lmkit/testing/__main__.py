"""`python -m lmkit.testing NAME ...` is the same as `lmkit plugins check NAME ...`."""

import sys

from lmkit.cli import cli

if __name__ == "__main__":
    cli.main(["plugins", "check", *sys.argv[1:]])
