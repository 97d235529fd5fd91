"""What a training run refuses to go on with."""

from __future__ import annotations


class NonFiniteLossError(RuntimeError):
    """A loss or a gradient became NaN or infinite. The last checkpoint is from before it.

    Attributes:
        step: The optimiser step, counted from 0.
    """

    def __init__(self, step: int, what: str) -> None:
        super().__init__(
            f"step {step}: {what} is not finite. The checkpoint from before it is intact: lower [optimiser] "
            "learning_rate or [losses] adversarial in a new work_dir, or set [run] bf16 to off and go on with --resume"
        )
        self.step = step
