"""The image tower's graph: pictures into the space of the captions' keys, to search a library by picture."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from export.errors import ExportError
from export.transformer_block import TransformerBlock, plain_blocks
from training.family.text_tower import CONFIG_FILE, TextTower


class ImageEncoderGraph(nn.Module):
    """Pixels (B, 3, S, S) in [-1, 1] to image_embeds (B, E) of length 1.

    Attributes:
        side: S.
    """

    class_embedding: Tensor
    positional_embedding: Tensor
    proj: Tensor

    def __init__(self, tower: TextTower, normalise: nn.Module) -> None:
        """Take the tower's parts.

        Args:
            tower: A tower that was read with its image tower, open_clip's plain ViT.
            normalise: Pixels in [-1, 1] to what the tower was trained with.

        Raises:
            ExportError: There is no image tower, or one of another kind.
        """
        super().__init__()
        visual = getattr(tower.clip, "visual", None)
        if visual is None:
            raise ExportError(
                "image_encoder: the family's text_encoder holds no image tower; give open_clip's whole model (tensors "
                "named visual.*), or leave --image-encoder out"
            )
        _require_plain(visual)
        self.side = int(visual.image_size[0])
        self.normalise, self.conv1 = normalise, visual.conv1
        self.ln_pre, self.ln_post = visual.ln_pre, visual.ln_post
        self.blocks = nn.ModuleList(
            TransformerBlock(block) for block in plain_blocks(visual.transformer, "image_encoder")
        )
        self.register_buffer("class_embedding", visual.class_embedding.detach())
        self.register_buffer("positional_embedding", visual.positional_embedding.detach())
        self.register_buffer("proj", visual.proj.detach())

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) float -> (B, E) float; only the class token goes through the last layer's queries."""
        patches = self.conv1(self.normalise(pixels)).flatten(2).transpose(1, 2)  # (B, P, D)
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)
        for block in list(self.blocks)[:-1]:
            x = block(x, x)
        pooled = self.ln_post(self.blocks[-1](x[:, :1], x)).squeeze(1)
        return functional.normalize(pooled @ self.proj, dim=-1)


class Normalise(nn.Module):
    """Pixels in [-1, 1] to what open_clip's preprocess_cfg makes of a picture."""

    scale: Tensor
    shift: Tensor

    def __init__(self, folder: Path) -> None:
        """Read mean and standard deviation.

        Args:
            folder: The family's text_encoder.
        """
        super().__init__()
        document = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        config = document.get("preprocess_cfg", {})
        mean, std = (torch.tensor(config.get(name, [0.5] * 3)).reshape(3, 1, 1) for name in ("mean", "std"))
        self.register_buffer("scale", 0.5 / std)
        self.register_buffer("shift", (0.5 - mean) / std)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> the same shape."""
        return pixels * self.scale + self.shift


class WholeImageTower(nn.Module):
    """What the graph must equal: open_clip's own tower."""

    def __init__(self, tower: TextTower, normalise: nn.Module) -> None:
        """Keep both."""
        super().__init__()
        self.tower, self.normalise = tower, normalise

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, E)."""
        return self.tower.encode_image(self.normalise(pixels))


def _require_plain(visual: nn.Module) -> None:
    """Refuse what `ImageEncoderGraph` would compute otherwise than open_clip."""
    plain = (
        getattr(visual, "attn_pool", None) is None
        and getattr(visual, "pool_type", "tok") == "tok"
        and not getattr(visual, "final_ln_after_pool", False)
        and getattr(visual, "proj", None) is not None
    )
    if not plain:
        raise ExportError(
            f"image_encoder: cannot export a {type(visual).__name__} that pools otherwise than by its class token; "
            "use open_clip's plain ViT (as ViT-H-14 has), or leave --image-encoder out"
        )
