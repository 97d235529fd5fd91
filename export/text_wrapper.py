"""The text encoder's graph: open_clip's text transformer, written so that it exports small and runs fast.

`training.family.text_tower.TextTower` runs the last layer for all tokens and then reads one of them. Here the
last layer's queries are that one token.  The result is compared with the tower itself before anything is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from export.transformer_block import TransformerBlock, plain_blocks

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
        blocks = plain_blocks(clip.transformer, "text_encoder")
        self.token_embedding, self.ln_final = clip.token_embedding, clip.ln_final
        self.blocks = nn.ModuleList(TransformerBlock(block) for block in blocks[:-1])
        self.last = TransformerBlock(blocks[-1])
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
