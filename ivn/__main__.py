"""``python -m ivn`` is ``ivn``."""

import sys

from ivn.cli import main

if __name__ == "__main__":
    sys.exit(main())
