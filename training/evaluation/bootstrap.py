"""Percentile bootstrap over captions: a score without an interval is not a result.

Every resampling draws *captions* (pictures), never single questions or objects: the questions of one picture
are not independent. A micro average (accuracy over questions, recall over objects) is therefore a ratio of
two sums over captions, and its interval comes from resampling both sums together.

Reference: Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 13.3 (percentile interval).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

RESAMPLES = 10_000
"""Resamplings of an interval: its ends then move by less than a tenth of its width from seed to seed."""
CONFIDENCE = 0.95
"""Share of the bootstrap distribution between the two ends of an interval."""
_CHUNK = 500  # resamplings held in memory at once: 500 x captions counts of 8 bytes


@dataclass(frozen=True)
class Interval:
    """A mean and the two ends of its percentile interval."""

    mean: float
    low: float
    high: float

    def as_list(self) -> list[float]:
        """Return [mean, low, high], rounded to four digits: what docs/results.json holds."""
        return [round(float(value), 4) for value in (self.mean, self.low, self.high)]


def mean_interval(
    values: Sequence[float] | FloatArray,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the mean of one value per caption and its percentile interval.

    Args:
        values: (N,) one value per caption, N >= 1, finite.
        confidence: Share between the ends, in (0, 1).
        resamples: Number of bootstrap samples, >= 1.
        seed: Seed of the resampling: the same values give the same interval.

    Raises:
        ValueError: No values, a non-finite value, or an option out of range.
    """
    numerators = np.asarray(values, dtype=np.float64)
    return ratio_interval(
        numerators, np.ones_like(numerators), confidence=confidence, resamples=resamples, seed=seed
    )


def paired_difference(
    first: Sequence[float] | FloatArray,
    second: Sequence[float] | FloatArray,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return mean(first - second) over captions that both rows drew from the same noise, with its interval.

    Args:
        first: (N,) one value per caption.
        second: (N,) values of the other row for the same captions in the same order.
        confidence: Share between the ends, in (0, 1).
        resamples: Number of bootstrap samples, >= 1.
        seed: Seed of the resampling.

    Raises:
        ValueError: The two differ in length, or as `mean_interval` raises.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.shape != right.shape:
        raise ValueError(
            f"a paired difference needs the same captions in both rows: {left.shape} and {right.shape}"
        )
    return mean_interval(left - right, confidence=confidence, resamples=resamples, seed=seed)


def ratio_interval(
    numerators: Sequence[float] | FloatArray,
    denominators: Sequence[float] | FloatArray,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return sum(numerators) / sum(denominators) and its interval, both sums resampled by caption.

    Args:
        numerators: (N,) per caption, for example questions answered right, or differences of such counts.
        denominators: (N,) per caption, for example questions asked; >= 0, not all zero.
        confidence: Share between the ends, in (0, 1).
        resamples: Number of bootstrap samples, >= 1. Samples whose denominators are all zero are left out.
        seed: Seed of the resampling.

    Raises:
        ValueError: Shapes that differ, no values, a non-finite value, a negative or all-zero denominator, or
            an option out of range.
    """
    top, bottom = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    _check(top, bottom, confidence, resamples)
    rng = np.random.default_rng(seed)
    count = top.shape[0]
    ratios: list[FloatArray] = []
    for start in range(0, resamples, _CHUNK):
        # How often each caption is drawn, instead of which: the sums become one matrix product.
        draws = rng.multinomial(count, np.full(count, 1.0 / count), size=min(_CHUNK, resamples - start))
        sums = draws @ bottom
        ratios.append((draws @ top)[sums > 0] / sums[sums > 0])
    low, high = np.quantile(np.concatenate(ratios), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean=float(top.sum() / bottom.sum()), low=float(low), high=float(high))


def _check(top: FloatArray, bottom: FloatArray, confidence: float, resamples: int) -> None:
    if top.ndim != 1 or top.shape != bottom.shape:
        raise ValueError(f"one value per caption is needed on both sides: got {top.shape} and {bottom.shape}")
    if top.size == 0:
        raise ValueError("no captions: an interval needs at least one value")
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()):
        raise ValueError("a value is not finite: look for the picture that has no score")
    if (bottom < 0).any() or not bottom.any():
        raise ValueError("denominators must be >= 0 and not all zero: nothing was counted")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), not {confidence}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")
