"""The linear probe finds what is there, and nothing where nothing is."""

from __future__ import annotations

import torch

from training.ladd.probe import probe, probe_features
from training.ladd.setup import Parts


def test_probe_reads_what_a_token_says_and_guesses_otherwise() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.nn.functional.one_hot(torch.randint(10, (800,), generator=generator), 10).float()
    noise = torch.randn(800, 6, 32, generator=generator)
    told = noise.clone()
    told[:, 2] += 8 * labels @ torch.randn(10, 32, generator=generator)
    assert probe(told, labels) > 0.95
    assert probe(noise, labels) < 0.25  # a guess is right in a tenth


def test_every_combination_is_probed(parts: Parts) -> None:
    results = probe_features(
        {"student": parts.student.unet},
        parts.family.text,
        parts.library,
        parts.training.masker,
        timesteps=[0, 50],
    )
    assert [(one.timestep, one.captions) for one in results] == [
        (timestep, kind) for timestep in (0, 50) for kind in ("caption", "masked", "empty")
    ]
    assert all(0 <= one.recall <= 1 for one in results)
