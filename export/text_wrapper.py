"""The text encoder's graph: open_clip's text transformer, written so that it exports small and runs fast.

`training.family.text_tower.TextTower` runs the last layer for all tokens and then reads one of them. Here the
last layer's queries are that one token. Attention is written out, because `nn.MultiheadAttention` is traced with
a fixed batch. The result is compared with the tower itself before anything is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional

from export.errors import ExportError

if TYPE_CHECKING:
    from training.family.text_tower import TextTower


class TextEncoderGraph(nn.Module):
    """Token ids to the U-Net's conditioning and the retrieval key."""

    positional_embedding: Tensor
    text_projection: Tensor
    attn_mask: Tensor

    def __init__(self, tower: TextTower) -> None:
        """Take the tower's parts.

        Args:
            tower: A tower of open_clip's plain residual attention blocks.

        Raises:
            ExportError: It has blocks of another kind (scaled cosine attention, custom text towers).
        """
        super().__init__()
        clip = tower.clip
        blocks = list(clip.transformer.resblocks)
        if other := next((block for block in blocks if type(block) is not ResidualAttentionBlock), None):
            raise ExportError(
                f"text_encoder: cannot export a block of type {type(other).__name__}; "
                "use a text_cfg of open_clip's plain CLIP (as ViT-H-14 has)"
            )
        self.token_embedding, self.ln_final = clip.token_embedding, clip.ln_final
        self.blocks = nn.ModuleList(_Block(block) for block in blocks[:-1])
        self.last = _Block(blocks[-1])
        self.register_buffer("positional_embedding", clip.positional_embedding.detach())
        self.register_buffer("text_projection", clip.text_projection.detach())
        self.register_buffer("attn_mask", clip.attn_mask.detach())  # (77, 77): 0, or -inf above the diagonal

    def forward(self, input_ids: Tensor, eos_index: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L) int64, (B,) int64 -> last_hidden_state (B, L, D), text_embeds (B, E) of length 1."""
        x, length = self.hidden(input_ids), input_ids.shape[1]
        end = eos_index.reshape(-1, 1, 1).expand(-1, 1, x.shape[2])
        mask = self.attn_mask[eos_index][:, None, None, :length]  # (B, 1, 1, L)
        pooled = self.ln_final(self.last(x.gather(1, end), x, mask)).squeeze(1)
        return self.ln_final(x), functional.normalize(pooled @ self.text_projection, dim=-1)

    def hidden(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> what the last but one layer gives (B, L, D), before the final norm."""
        length = input_ids.shape[1]
        x: Tensor = self.token_embedding(input_ids) + self.positional_embedding[:length]
        for block in self.blocks:
            x = block(x, x, self.attn_mask[:length, :length])
        return x


class _Block(nn.Module):
    """open_clip's `ResidualAttentionBlock`, with queries and context apart."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        attention = block.attn
        self.heads, self.scale = attention.num_heads, attention.head_dim**-0.5
        self.norm, self.out, self.out_scale = block.ln_1, attention.out_proj, block.ls_1
        self.mlp_norm, self.mlp, self.mlp_scale = block.ln_2, block.mlp, block.ls_2
        weights = attention.in_proj_weight.detach().chunk(3)
        biases = attention.in_proj_bias.detach().chunk(3)
        self.query, self.key, self.value = (_linear(w, b) for w, b in zip(weights, biases, strict=True))

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Queries x (B, Q, D), context (B, L, D), additive mask (..., Q, L) -> (B, Q, D)."""
        context = self.norm(context)
        query = self._split(self.query(self.norm(x)))
        key, value = self._split(self.key(context)), self._split(self.value(context))
        scores = torch.softmax(query @ key.transpose(-1, -2) * self.scale + mask, dim=-1)
        attended = (scores @ value).transpose(1, 2).flatten(2)
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
