"""The torch world: models, data, distillation and evaluation. Lives in the checkout, never in the wheel."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))  # appended: an installed copy wins
