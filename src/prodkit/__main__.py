"""`python -m prodkit`: the same as the `prodkit` command."""

from __future__ import annotations

import sys

from prodkit.cli import main

# Worker processes import this module under another name.
if __name__ == "__main__":
    sys.exit(main())
