"""From torch to a bundle: graphs, parity, library. Lives in the checkout, never in the wheel."""

import sys
from pathlib import Path

import training  # noqa: F401 - before diffusers, which it keeps quiet

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))  # appended: an installed copy wins
