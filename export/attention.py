"""Attention as one operator: diffusers' `Attention` modules, traced as ONNX Runtime's MultiHeadAttention.

Written out as MatMul, Softmax and MatMul, a self-attention of 64 x 64 tokens makes a matrix of 4096 x 4096 scores
per head: 335 MB at SD-Turbo's first resolution, and takes half as long again. ONNX Runtime's operator never makes
it, on the CPU as on CUDA; where an execution provider lacks the operator, the CPU's runs it.
"""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional

from export.errors import ExportError

OPERATOR = "com.microsoft::MultiHeadAttention"


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for every head (Vaswani et al., 2017, equation 1).

    Args:
        query: (B, Q, heads * d) float32.
        key: (B, L, heads * d) float32.
        value: (B, L, heads * d) float32.
        heads: Number of heads.

    Returns:
        (B, Q, heads * d) float32.
    """
    if torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(
            OPERATOR,
            (query, key, value),
            {"num_heads": heads},
            dtype=query.dtype,
            shape=query.shape,
            version=1,
        )
    query, key, value = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key, value))
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class OneOperator:
    """A processor for diffusers' `Attention` that leaves the attention itself to `attention`."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """(B, N, C) or (B, C, H, W), context (B, L, D) or None for itself -> as hidden_states."""
        if attention_mask is not None or attn.spatial_norm is not None or attn.norm_cross:
            raise ExportError("cannot export attention with a mask, a spatial norm or a norm of its context")
        tokens = hidden_states.flatten(2).transpose(1, 2) if hidden_states.ndim == 4 else hidden_states
        if attn.group_norm is not None:
            tokens = attn.group_norm(tokens.transpose(1, 2)).transpose(1, 2)
        context = tokens if encoder_hidden_states is None else encoder_hidden_states
        out = attention(attn.to_q(tokens), attn.to_k(context), attn.to_v(context), attn.heads)
        out = attn.to_out[0](out)
        if hidden_states.ndim == 4:
            out = out.transpose(1, 2).reshape(hidden_states.shape)
        result: Tensor = out + hidden_states if attn.residual_connection else out
        return result / attn.rescale_output_factor
