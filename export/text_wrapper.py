"""The text encoder's graph: open_clip's text transformer, written so that it exports small and runs fast.

`training.family.text_tower.TextTower` runs the last layer for all tokens and then reads one of them. Here the last
layer's queries are that one token. Attention is written out, because `nn.MultiheadAttention` is traced with a fixed
batch. The result is compared with the tower itself before anything is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name it has everywhere

from export.errors import ExportError

if TYPE_CHECKING:
    from training.family.text_tower import TextTower


class TextEncoderGraph(nn.Module):
    """Token ids to the U-Net's conditioning and the retrieval key."""

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
        self.blocks = nn.ModuleList(_Block(block) for block in blocks)
        self.register_buffer("positional_embedding", clip.positional_embedding.detach())
        self.register_buffer("text_projection", clip.text_projection.detach())
        self.register_buffer("attn_mask", clip.attn_mask.detach())  # (77, 77): 0, or -inf above the diagonal

    def forward(self, input_ids: Tensor, eos_index: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L) int64, (B,) int64 -> last_hidden_state (B, L, D), text_embeds (B, E) of length 1."""
        length = input_ids.shape[1]
        x = self.token_embedding(input_ids) + self.positional_embedding[:length]  # (B, L, D)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, block.norm(x), self.attn_mask[:length, :length])
        end = eos_index.reshape(-1, 1, 1).expand(-1, 1, x.shape[2])
        mask = self.attn_mask[eos_index][:, None, None, :length]  # (B, 1, 1, L)
        pooled = self.ln_final(last(x.gather(1, end), last.norm(x), mask)).squeeze(1)
        return self.ln_final(x), F.normalize(pooled @ self.text_projection, dim=-1)


class _Block(nn.Module):
    """open_clip's `ResidualAttentionBlock`, with queries and context apart."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        attention = block.attn
        self.heads, self.scale = attention.num_heads, attention.head_dim**-0.5
        self.norm, self.attention_out, self.attention_scale = block.ln_1, attention.out_proj, block.ls_1
        self.mlp_norm, self.mlp, self.mlp_scale = block.ln_2, block.mlp, block.ls_2
        weights, biases = attention.in_proj_weight.detach().chunk(3), attention.in_proj_bias.detach().chunk(3)
        for name, weight, bias in zip("qkv", weights, biases, strict=True):
            self.register_buffer(f"{name}_weight", weight.contiguous())
            self.register_buffer(f"{name}_bias", bias.contiguous())

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """Queries x (B, Q, D), normed context (B, L, D), additive mask (..., Q, L) -> (B, Q, D)."""
        query = self._heads(self.norm(x), self.q_weight, self.q_bias)
        key = self._heads(context, self.k_weight, self.k_bias)
        value = self._heads(context, self.v_weight, self.v_bias)
        scores = torch.softmax(query @ key.transpose(-1, -2) * self.scale + mask, dim=-1)
        attended = (scores @ value).transpose(1, 2).flatten(2)
        x = x + self.attention_scale(self.attention_out(attended))
        added: Tensor = x + self.mlp_scale(self.mlp(self.mlp_norm(x)))
        return added

    def _heads(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(B, L, D) -> (B, heads, L, D / heads)."""
        return F.linear(x, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
