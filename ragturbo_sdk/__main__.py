"""``python -m ragturbo_sdk`` is the command ``ragturbo``."""

from __future__ import annotations

import sys

from ragturbo_sdk.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
