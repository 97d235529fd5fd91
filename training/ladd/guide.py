"""Tells the adapter's attention where to look, in scenes whose drawing is known.

Whoever draws a scene knows which part of which thing every cell shows. So for a cell of the target the guide can say
which tokens of its references show the same part of the same thing, and the alignment adds the cross-entropy between
that and what some heads of the cross-attention look at. The other heads, and cells on the ground, look where they like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from training.data.layout_map import kind_maps, layout_maps
from training.data.scene import Composition, Scene

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention

GUIDED_SHARE = 2 / 3
"""Of the heads."""
SPREAD = 0.3
"""Standard deviation of "the same part", in halves of a thing's side: about a cell of a middling thing."""
LEAST_MASS = 0.05
"""Cells whose part is hardly in any reference are not told anything."""
SMALLEST = 1e-6
"""Probabilities below count as this much."""
_BARE = Scene("train", 0, Composition((), None, None, None), (), "")


@dataclass(frozen=True)
class SceneMaps:
    """What N pictures show, in Q cells, row-major."""

    kinds: Tensor
    """(N, Q) int64: which thing; -1 on the ground."""
    parts: Tensor
    """(N, 2, Q) float32: how far right and down of its centre, in halves of its side."""

    @classmethod
    def of(cls, scenes: Sequence[Scene], side: int, numbers: dict[str, int]) -> SceneMaps:
        """Draw the maps of scenes; `numbers` gives things their numbers, and gets new ones."""
        kinds = torch.from_numpy(kind_maps(scenes, side, numbers))
        parts = torch.from_numpy(np.ascontiguousarray(layout_maps(scenes, side)[:, 1:3]))
        return cls(kinds.flatten(1), parts.flatten(2))


@dataclass(frozen=True)
class Guide:
    """What training pairs and library entries show where."""

    pairs: SceneMaps
    entries: SceneMaps
    side: int
    """Cells along a side of h."""
    pool: int
    """Side of the square of cells that one reference token stands for."""

    @classmethod
    def of(cls, pictures: Sequence[Scene | None], entries: Sequence[Scene], *, side: int, pool: int) -> Guide:
        """Draw the maps.

        Args:
            pictures: What each training pair shows; None where the teacher drew it, and nobody knows what where.
            entries: What each library entry shows.
            side: Cells along a side of h.
            pool: Divides the side.
        """
        numbers: dict[str, int] = {}
        shown = [picture or _BARE for picture in pictures]
        return cls(
            SceneMaps.of(shown, side, numbers), SceneMaps.of(entries, side, numbers), side=side, pool=pool
        )

    def shares(self, indices: Sequence[int], rows: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Say where the cells of a batch should look.

        Args:
            indices: Which B pairs.
            rows: (B, K) int64 library entries.
            weights: (B, K) float32 lambdas; 0 = no reference there.

        Returns:
            (B, Q, K * T) float32: how much of what a cell shows lies in each reference token, adding up to 1; and
            (B, Q) bool: for which cells that is known. Elsewhere the shares say nothing.
        """
        kinds, parts = self.pairs.kinds[list(indices)], self.pairs.parts[list(indices)]  # (B, Q), (B, 2, Q)
        their_kinds = self.entries.kinds[rows].masked_fill(weights.unsqueeze(2) <= 0, -1).flatten(1)
        their_parts = self.entries.parts[rows].transpose(1, 2).flatten(2)  # (B, 2, K * Q)
        distance = (parts.unsqueeze(3) - their_parts.unsqueeze(2)).square().sum(dim=1)  # (B, Q, K * Q)
        same = (kinds.unsqueeze(2) == their_kinds.unsqueeze(1)) & (kinds.unsqueeze(2) >= 0)
        mass = self._pooled(torch.exp(-distance / (2 * SPREAD**2)) * same)
        whole = mass.sum(dim=2)
        return mass / whole.clamp(min=LEAST_MASS).unsqueeze(2), whole > LEAST_MASS

    def _pooled(self, mass: Tensor) -> Tensor:
        """(B, Q, K * Q) of cells -> (B, Q, K * T) of tokens."""
        count = self.side // self.pool
        squares = mass.reshape(*mass.shape[:2], -1, count, self.pool, count, self.pool)
        return squares.sum(dim=(4, 6)).flatten(2)


class WatchedAttention:
    """Keeps what an attention of diffusers was asked, to compute where it looked.

    Its processors return no probabilities, and replacing them would change what is trained.

    Args:
        attention: Watched inside the ``with``.
    """

    def __init__(self, attention: Attention) -> None:
        self.attention = attention
        self._asked: tuple[Tensor, Tensor, Tensor | None] | None = None

    def __enter__(self) -> WatchedAttention:
        """Begin to watch."""
        self._hook = self.attention.register_forward_pre_hook(self._keep, with_kwargs=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching; what was kept stays."""
        self._hook.remove()

    def probabilities(self) -> Tensor:
        """Where each head looked, with gradients: (B, heads, Q, K * T).

        Raises:
            RuntimeError: The attention was not called.
        """
        if self._asked is None:
            raise RuntimeError("the attention was not called while it was watched")
        hidden, others, mask = self._asked
        attention, batch = self.attention, len(hidden)
        hidden, others = hidden.to(attention.to_q.weight.dtype), others.to(attention.to_k.weight.dtype)
        query = attention.head_to_batch_dim(attention.to_q(hidden))
        key = attention.head_to_batch_dim(attention.to_k(others))
        if mask is not None:
            mask = attention.prepare_attention_mask(mask, others.shape[1], batch)
        found: Tensor = attention.get_attention_scores(query, key, mask)
        return found.reshape(batch, attention.heads, *found.shape[1:]).float()

    def _keep(self, _: Attention, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._asked = given[0], named["encoder_hidden_states"], named.get("attention_mask")


def guide_loss(probabilities: Tensor, shares: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy between where the guided heads look and where they should, mean over heads and known cells.

    Args:
        probabilities: (B, heads, Q, N) float32.
        shares: (B, Q, N) float32.
        known: (B, Q) bool.

    Returns:
        A number; 0 where nothing is known.
    """
    heads = max(1, round(GUIDED_SHARE * probabilities.shape[1]))
    logs = probabilities[:, :heads].clamp(min=SMALLEST).log().mean(dim=1)
    entropy = -(shares * logs).sum(dim=2)
    return (entropy * known).sum() / known.sum().clamp(min=1)
