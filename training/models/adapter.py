"""The h-space adapter of ImageRAGTurbo: cross-attention from the target's h to the references' h.

    h' = h + strength * lambda * g(h, references)            (the paper's residual fusion, section 3.3)

g is one transformer block as in diffusers' `Transformer2DModel`, without that class's own outer residual
(which would double h). At 1280 channels it has 36,071,680 parameters: the paper's "36M, 4 % of the model".

For k references the paper gives no formula. Here: the tokens of all references are concatenated, each
reference adds log(lambda_i) to its attention logits, and the outer weight is sum(lambda_i^2) / sum(lambda_i).
So k = 1 is the paper (a constant bias cancels in the softmax, and the outer weight is lambda), a reference
with lambda 0 is a no-op, and a set in which all are 0 gives the base model bit for bit.
"""

from __future__ import annotations

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

# Added to the logits of a reference that is masked. exp() of it is exactly 0 beside any real logit in
# float32, and it is finite in float16 too: -inf would give NaN where every reference is masked.
MASKED_LOGIT = -3.0e4
SMALLEST_WEIGHT = 1e-6  # lambda below this counts as this much in log(lambda)


class HSpaceAdapter(nn.Module):
    """g(h, references) -> delta_h, zero until it is trained."""

    def __init__(self, channels: int, *, num_attention_heads: int, norm_num_groups: int = 32) -> None:
        """Build it with random weights, and an output layer of zeros.

        Args:
            channels: C, the width of the U-Net's bottleneck.
            num_attention_heads: Heads of both attentions; must divide `channels`. SD-2.1: 20.
            norm_num_groups: Groups of the GroupNorm on h; must divide `channels`.

        Raises:
            ValueError: Heads or groups do not divide the channels.
        """
        super().__init__()
        divisors = {"num_attention_heads": num_attention_heads, "norm_num_groups": norm_num_groups}
        for name, value in divisors.items():
            if value < 1 or channels % value != 0:
                raise ValueError(f"{name}={value} does not divide channels={channels}; choose a divisor")
        self.channels = channels
        self.num_attention_heads = num_attention_heads
        self.norm_num_groups = norm_num_groups
        self.norm = nn.GroupNorm(norm_num_groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        # Features of clean references (t=0) have another scale than those of noise (t=999). No affine: to_k
        # and to_v are linear and come next, and the parameter count stays the paper's.
        self.reference_norm = nn.LayerNorm(channels, elementwise_affine=False)
        self.block = BasicTransformerBlock(
            channels, num_attention_heads, channels // num_attention_heads, cross_attention_dim=channels
        )
        self.proj_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)
        # Plain matmuls: faster than SDPA's backward on CPUs, and the form that ONNX Runtime's fusions know.
        self.block.attn1.set_processor(AttnProcessor())
        self.block.attn2.set_processor(AttnProcessor())

    def forward(self, h: Tensor, reference_h: Tensor, reference_weight: Tensor) -> Tensor:
        """Compute what the references add to h.

        Args:
            h: (B, C, H, W) bottleneck features of the picture that is being drawn, float.
            reference_h: (B, K, T, C) features of K >= 1 references, T tokens each, row-major, float.
            reference_weight: (B, K) lambda_i in [0, 1]; 0 or less masks the reference.

        Returns:
            delta_h (B, C, H, W).
        """
        batch, channels, height, width = h.shape
        tokens = self.norm(h).flatten(2).transpose(1, 2)  # (B, H*W, C)
        references = self.reference_norm(reference_h.flatten(1, 2))  # (B, K*T, C)
        tokens = self.block(
            self.proj_in(tokens),
            encoder_hidden_states=references,
            encoder_attention_mask=_logit_bias(reference_weight, reference_h.shape[2]).to(h.dtype),
        )
        delta: Tensor = self.proj_out(tokens).transpose(1, 2)
        return delta.reshape(batch, channels, height, width)

    def inject(
        self, h: Tensor, reference_h: Tensor, reference_weight: Tensor, strength: Tensor | float = 1.0
    ) -> Tensor:
        """Compute what the references add to h, and add it: arguments as of `forward` and `fuse`.

        Returns:
            (B, C, H, W), the input of `split_unet.decode`.
        """
        return fuse(h, self(h, reference_h, reference_weight), reference_weight, strength)


def _logit_bias(reference_weight: Tensor, tokens: int) -> Tensor:
    """(B, K) lambdas -> (B, 1, K*T): log(lambda_i) on each token of reference i, `MASKED_LOGIT` if 0."""
    weight = reference_weight.float()
    bias = torch.where(weight > 0, weight.clamp(min=SMALLEST_WEIGHT).log(), MASKED_LOGIT)
    return bias.unsqueeze(2).expand(-1, -1, tokens).flatten(1, 2).unsqueeze(1)


def outer_weight(reference_weight: Tensor) -> Tensor:
    """The lambda of a whole set of references: sum(lambda_i^2) / sum(lambda_i), 0 if all are 0.

    Unlike the mean it is not diluted by adding worse neighbours, and for one reference it is exactly lambda.

    Args:
        reference_weight: (B, K) lambda_i in [0, 1]; negative counts as 0.

    Returns:
        (B,) float32 in [0, 1].
    """
    weight = reference_weight.float().clamp(min=0)
    share = weight / weight.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return (weight * share).sum(dim=1)


def fuse(h: Tensor, delta_h: Tensor, reference_weight: Tensor, strength: Tensor | float = 1.0) -> Tensor:
    """Add the adapter's output: h' = h + strength * lambda * delta_h (ImageRAGTurbo, section 3.3).

    Args:
        h: (B, C, H, W).
        delta_h: (B, C, H, W), the adapter's output.
        reference_weight: (B, K) lambda_i in [0, 1].
        strength: The user's factor, >= 0: a number or (B,). 0 gives h bit for bit.

    Returns:
        (B, C, H, W), the input of `split_unet.decode`.
    """
    scale = (outer_weight(reference_weight) * strength).to(delta_h.dtype)
    return h + scale.reshape(-1, 1, 1, 1) * delta_h
