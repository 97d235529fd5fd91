"""An open_clip model that the user brought: it embeds pictures and prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from training.benchmarks.model_folders import require_files
from training.evaluation.bootstrap import FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image

CONFIG_FILE = "open_clip_config.json"
LAYOUT = (
    (CONFIG_FILE,),
    ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors", "pytorch_model.bin"),
)
PUBLIC = "laion/CLIP-ViT-g-14-laion2B-s12B-b42K"


class OpenClip:
    """A CLIP with its own preparation of pictures and its own tokenizer."""

    def __init__(self, folder: Path, *, device: str, batch: int) -> None:
        """Read open_clip's local layout; nothing comes from a network.

        Args:
            folder: Config and weights.
            device: torch's.
            batch: Prompts at a time.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: The files cannot be read.
        """
        import open_clip

        require_files(folder, LAYOUT, option="--clip", public=PUBLIC)
        try:
            name = f"local-dir:{folder.absolute()}"
            loaded: Any = open_clip.create_model_from_pretrained(name, device=device)
            self.model, self.prepare = loaded
            self.tokenizer: Any = open_clip.get_tokenizer(name)
        except Exception as error:  # what its readers raise has no common base
            raise ValueError(f"--clip {folder}: cannot be loaded ({error}); download it again") from error
        self.model.eval()
        self.device, self.batch = device, batch

    @torch.inference_mode()
    def embed_pictures(self, pictures: Sequence[Image]) -> Tensor:
        """Embed RGB pictures of any size: (N, E) float32 on the CPU, of length 1."""
        pixels = torch.stack([self.prepare(picture) for picture in pictures]).to(self.device)
        return nn.functional.normalize(self.model.encode_image(pixels).float(), dim=1).cpu()

    @torch.inference_mode()
    def embed_prompts(self, prompts: Sequence[str]) -> Tensor:
        """Embed prompts, cut at the model's context: (N, E) float32 on the CPU, of length 1."""
        parts = [
            self.model.encode_text(self.tokenizer(list(prompts[first : first + self.batch])).to(self.device))
            for first in range(0, len(prompts), self.batch)
        ]
        return nn.functional.normalize(torch.cat(parts).float(), dim=1).cpu()


def clip_scores(prompts: Tensor, pictures: Tensor) -> FloatArray:
    """Cosine of each prompt with its picture, as open_clip takes it: no factor, no clipping, no prefix.

    torchmetrics' ``CLIPScore`` is ``max(100 * cosine, 0)`` averaged.

    Args:
        prompts: (N, E) float32 of length 1.
        pictures: (N, E) float32 of length 1.

    Returns:
        (N,) float64 in [-1, 1].
    """
    return np.asarray((prompts.double() * pictures.double()).sum(dim=1).numpy())
