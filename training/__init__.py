"""The torch world: models, data, distillation and evaluation. Lives in the checkout, never in the wheel."""

import logging
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("torch") is None:  # said here once: every command of training and export begins with this file
    raise ModuleNotFoundError(
        "training and export need torch and more, which the development environment has: "
        "make venv, then source .venv/bin/activate",
        name="torch",
    )

sys.path.append(str(Path(__file__).resolve().parents[1] / "runtime"))  # appended: an installed copy wins

# optimum and optimum-onnx share one package, of which diffusers tells everyone who imports it.
logging.getLogger("diffusers.utils.import_utils").addFilter(
    lambda record: "Multiple distributions found for package optimum" not in record.getMessage()
)
