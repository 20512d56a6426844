"""`python -m conformance` does what the command `conformance` does."""

import sys

from conformance.cli import main

if __name__ == "__main__":
    sys.exit(main())
