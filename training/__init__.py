"""The torch world: models, data, distillation and evaluation. Lives in the checkout, never in the wheel."""

import logging
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))  # appended: an installed copy wins

# optimum and optimum-onnx share one package, of which diffusers tells everyone who imports it.
logging.getLogger("diffusers.utils.import_utils").addFilter(
    lambda record: "Multiple distributions found for package optimum" not in record.getMessage()
)
