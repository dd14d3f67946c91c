"""`python -m lmkit`: the same as the command `lmkit`."""

from lmkit.cli import main

main()
