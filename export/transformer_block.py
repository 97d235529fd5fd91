"""A layer of open_clip's transformers, attention written out: `nn.MultiheadAttention` is traced for a fixed batch."""

from __future__ import annotations

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from export.errors import ExportError


def plain_blocks(transformer: nn.Module, graph: str) -> list[ResidualAttentionBlock]:
    """Return the layers of a transformer.

    Args:
        transformer: open_clip's.
        graph: What is exported, for the message.

    Raises:
        ExportError: They are of another kind (scaled cosine attention, custom towers).
    """
    blocks = list(transformer.resblocks)  # type: ignore[arg-type]
    if other := next((block for block in blocks if type(block) is not ResidualAttentionBlock), None):
        raise ExportError(
            f"{graph}: cannot export a block of type {type(other).__name__}; "
            "use a tower of open_clip's plain CLIP (as ViT-H-14 has)"
        )
    return blocks


class TransformerBlock(nn.Module):
    """open_clip's `ResidualAttentionBlock`, with queries and context apart."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        """Take the parts of a layer."""
        super().__init__()
        attention = block.attn
        self.heads, self.scale = attention.num_heads, attention.head_dim**-0.5
        self.norm, self.out, self.out_scale = block.ln_1, attention.out_proj, block.ls_1
        self.mlp_norm, self.mlp, self.mlp_scale = block.ln_2, block.mlp, block.ls_2
        weights = attention.in_proj_weight.detach().chunk(3)
        biases = attention.in_proj_bias.detach().chunk(3)
        self.query, self.key, self.value = (_linear(w, b) for w, b in zip(weights, biases, strict=True))

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries x (B, Q, D), context (B, L, D), additive mask (..., Q, L) or none -> (B, Q, D)."""
        context = self.norm(context)
        query = self._split(self.query(self.norm(x)))
        key, value = self._split(self.key(context)), self._split(self.value(context))
        scores = query @ key.transpose(-1, -2) * self.scale
        shares = torch.softmax(scores if mask is None else scores + mask, dim=-1)
        attended = (shares @ value).transpose(1, 2).flatten(2)
        x = x + self.out_scale(self.out(attended))
        result: Tensor = x + self.mlp_scale(self.mlp(self.mlp_norm(x)))
        return result

    def _split(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, heads, L, D / heads)."""
        batch, length, width = x.shape
        return x.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer.requires_grad_(False)
