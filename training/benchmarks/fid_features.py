"""Features for FID: Inception-v3's as torch-fidelity ported them, from a file that the user brought.

COCO-5k is usually reported so (Heusel et al., 2017; torchmetrics): 2048 features, both sets of pictures resized to
299 x 299 by PIL's bicubic filter, not cut. FID also moves with the filter and with JPEG: never mix protocols.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image as Pil
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 299
WIDTH = 2048
FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_FID = f"torchmetrics, Inception-v3 {WIDTH} features, PIL bicubic to {SIDE} x {SIDE}"
CLIP_FID = "torchmetrics, picture embeddings of length 1 by the CLIP, times 100; no Inception FID"


class Inception:
    """Inception-v3 of torch-fidelity, as torchmetrics' FID takes it."""

    def __init__(self, weights: Path, *, device: str) -> None:
        """Read its weights.

        Args:
            weights: torch-fidelity's file.
            device: torch's.

        Raises:
            FileNotFoundError: The file is not there.
            ValueError: The file is no such weights.
        """
        from torchmetrics.image.fid import NoTrainInceptionV3

        if not weights.is_file():
            raise FileNotFoundError(
                f"--inception {weights}: no such file; wanted are torch-fidelity's weights, {FILE}. Or leave it out: "
                "FID is then taken with the CLIP's picture embeddings, comparable among rows alone"
            )
        try:
            # torch-fidelity unpickles whatever the file holds: let torch refuse anything but weights first.
            torch.load(weights, map_location="cpu", weights_only=True)
            net = NoTrainInceptionV3("inception-v3-compat", [str(WIDTH)], str(weights))
        except Exception as error:  # what torch.load raises has no common base
            raise ValueError(f"--inception {weights}: not torch-fidelity's {FILE} ({error})") from error
        self.net, self.device = net.to(device), device

    @torch.inference_mode()
    def embed_pictures(self, pictures: Sequence[Image]) -> Tensor:
        """Embed RGB pictures of any size: (N, 2048) float32 on the CPU."""
        resized = [picture.resize((SIDE, SIDE), Pil.Resampling.BICUBIC) for picture in pictures]
        pixels = torch.from_numpy(np.stack([np.asarray(one) for one in resized]))  # (N, H, W, 3) uint8
        features: Tensor = self.net(pixels.permute(0, 3, 1, 2).contiguous().to(self.device))
        return features.float().cpu()
