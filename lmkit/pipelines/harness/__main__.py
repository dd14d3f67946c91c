"""The command of the lm-evaluation-harness, which also knows the model `lmkit`."""

import sys

from lmkit.errors import LmkitError
from lmkit.extras import needs


def main() -> None:
    """Run `lm-eval` with the arguments of the process; an error of lmkit is one line."""
    try:
        command = needs("lm_eval.__main__", "harness")
        needs("lmkit.pipelines.harness.model", "harness")  # registers the model
        command.cli_evaluate()
    except LmkitError as error:
        print(f"{error.label}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
