"""`python -m tunescope`."""

import sys

from tunescope.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
