"""``python -m isles``."""

import sys

from isles._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
