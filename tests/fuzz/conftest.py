"""Let the tests import the fuzzer, whose scripts are beside them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
