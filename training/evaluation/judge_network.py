"""The judge's network: a small convolutional detector on a grid of four-pixel cells.

Per cell it says which concept has its centre nearby, or none, and where that centre is and how big the thing;
per picture it says what stands behind. It is an anchor-free detector in the manner of FCOS (Tian et al.,
2019, "FCOS: Fully Convolutional One-Stage Object Detection", section 3): every cell around a centre votes,
softmax over the concepts and "none", so that a mixture of two things is neither.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 4
"""Pixels per cell of the grid, in both directions."""
_GROUPS = 8
_WIDTHS = (24, 48, 96, 96)  # channels at 1/2, 1/4, 1/8 and 1/16 of the picture's side


class JudgeNetwork(nn.Module):
    """Reads pictures into a grid of concepts and boxes, and a ground."""

    def __init__(self, concepts: int, grounds: int) -> None:
        """Build it with random weights.

        Args:
            concepts: Number of concepts, >= 1; the grid gets one more class, the last, for "none".
            grounds: Number of grounds, >= 1.
        """
        super().__init__()
        half, quarter, eighth, sixteenth = _WIDTHS
        self.stem = _downsample(3, half)
        self.quarter = nn.Sequential(_downsample(half, quarter), _Residual(quarter))
        self.eighth = nn.Sequential(_downsample(quarter, eighth), _Residual(eighth), _Residual(eighth))
        self.sixteenth = nn.Sequential(_downsample(eighth, sixteenth), _Residual(sixteenth))
        self.up_eighth = nn.Conv2d(sixteenth, eighth, 1)
        self.up_quarter = nn.Conv2d(eighth, quarter, 1)
        last = nn.Conv2d(96, concepts + 1 + 3, 1)
        self.grid = nn.Sequential(_block(quarter, 96, stride=1), last)
        _expect_nothing(last, concepts)
        self.ground = nn.Linear(half + quarter + 2 * sixteenth, grounds)
        self.concepts = concepts

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read pictures.

        Args:
            pictures: (B, 3, H, W) float32 in [-1, 1]; H and W divisible by 8.

        Returns:
            Concept logits (B, concepts + 1, H/4, W/4), the last class "none"; boxes (B, 3, H/4, W/4): offset
            x and y of the centre from the cell's middle in cells, and log of the side in cells; ground logits
            (B, grounds). All float32.
        """
        half = self.stem(pictures)
        quarter = self.quarter(half)
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        eighth_up = functional.relu(eighth + _resize(self.up_eighth(sixteenth), eighth))
        grid = self.grid(functional.relu(quarter + _resize(self.up_quarter(eighth_up), quarter))).float()
        pooled = [half.mean((2, 3)), quarter.mean((2, 3)), sixteenth.mean((2, 3)), sixteenth.amax((2, 3))]
        ground = self.ground(torch.cat(pooled, dim=1)).float()
        return grid[:, : self.concepts + 1], grid[:, self.concepts + 1 :], ground


class _Residual(nn.Module):
    """Two convolutions around which the input passes (He et al., 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _block(channels, channels, stride=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(_GROUPS, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.relu(hidden + self.norm(self.second(self.first(hidden))))


def _expect_nothing(last: nn.Conv2d, concepts: int) -> None:
    """Start where most cells are empty, so that the first steps are not spent on learning that."""
    assert last.bias is not None
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.zero_()
        last.bias[concepts] = 7.0  # 64 concepts of e^0 against e^7: one cell in 18 holds something
        last.bias[concepts + 3] = 1.5  # log of 4.5 cells: a medium thing


def _block(channels_in: int, channels_out: int, *, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(_GROUPS, channels_out), nn.ReLU())


def _downsample(channels_in: int, channels_out: int) -> nn.Sequential:
    return _block(channels_in, channels_out, stride=2)


def _resize(hidden: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(hidden, size=like.shape[-2:])
