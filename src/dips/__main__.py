"""``python -m dips`` does what the command ``dips`` does."""

from __future__ import annotations

import sys

from dips.cli import main

if __name__ == "__main__":
    sys.exit(main())
