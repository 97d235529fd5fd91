"""Starts a run from an adapter that was trained before, on the same base: to go on, or to fit it to other pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from training.models.checkpoint import CheckpointError
from training.models.lora import load_lora

if TYPE_CHECKING:
    from training.ladd.config import StudentConfig
    from training.ladd.student import Student
    from training.models.checkpoint import AdapterCheckpoint


def start_from(
    checkpoint: AdapterCheckpoint, student: Student, hashes: Mapping[str, str], settings: StudentConfig
) -> None:
    """Copy an earlier run's adapter and LoRA into a new student; optimiser and discriminator start anew.

    Args:
        checkpoint: From `training.models.checkpoint.load_adapter`.
        student: Untrained; changed in place.
        hashes: Of the student's base, from `family_hashes`.
        settings: What the student was made with.

    Raises:
        CheckpointError: It was trained on another base or with other settings, or lacks an adapter that this run
            trains.
    """
    checkpoint.check_base(hashes)
    metadata = checkpoint.metadata
    for key, there, here in (
        ("lora_rank", metadata.rank, settings.lora_rank),
        ("lora_alpha", metadata.alpha, settings.lora_alpha),
        ("attention_heads", metadata.num_attention_heads, settings.attention_heads),
        ("norm_groups", metadata.norm_num_groups, settings.norm_groups),
    ):
        if there != here:
            raise CheckpointError(
                f"was trained with {key} = {there}, this run has {here}; set [student] {key} to {there}",
                path=checkpoint.path,
            )
    if student.adapter is not None:
        student.adapter.load_state_dict(checkpoint.build_adapter().state_dict())
    load_lora(student.unet, checkpoint.lora_state)
