"""From torch to a bundle: graphs, parity, library. Lives in the checkout, never in the wheel."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))  # appended: an installed copy wins
