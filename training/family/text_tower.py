"""One open_clip tower for both uses of a prompt: the U-Net's conditioning and the retrieval key."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import torch
from open_clip.model import CLIP
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training.atomic import save_atomically

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
CONTEXT_LENGTH = 77
_SMALLEST_VISION = {"image_size": 32, "patch_size": 32, "width": 32, "head_width": 32, "layers": 1}
"""open_clip's CLIP cannot be made without an image tower; this one is thrown away at once."""


class TextTower(nn.Module):
    """Reads captions (and, for training and for indexing by picture, pictures) with one open_clip CLIP.

    The conditioning is the last but one layer with the final norm, as Stable Diffusion 2 takes it from ViT-H-14; the
    key is what CLIP itself compares: last layer, final norm, projection, L2-normalised.
    """

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        self.clip = clip
        self.tokenizer = open_clip.SimpleTokenizer(context_length=CONTEXT_LENGTH)

    @property
    def width(self) -> int:
        """Width of the conditioning."""
        return int(self.clip.token_embedding.embedding_dim)

    @property
    def embed_dim(self) -> int:
        """Width of a key."""
        return int(self.clip.text_projection.shape[1])

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Encode texts as token ids.

        Args:
            texts: B strings; what does not fit 77 tokens is cut.

        Returns:
            ids (B, 77) int64, zero after the end token; index of the end token (B,) int64.
        """
        input_ids = self.tokenizer(texts)
        return input_ids, input_ids.argmax(dim=1)  # <end_of_text> has the highest id

    def forward(self, input_ids: Tensor, eos_index: Tensor) -> tuple[Tensor, Tensor]:
        """Encode token ids.

        Args:
            input_ids: (B, L) int64, L up to 77.
            eos_index: (B,) int64, where each text ends.

        Returns:
            last_hidden_state (B, L, width) and text_embeds (B, embed_dim), the latter of length 1.
        """
        length = input_ids.shape[1]
        x = self.clip.token_embedding(input_ids) + self.clip.positional_embedding[:length]  # (B, L, width)
        mask = self.clip.attn_mask[:length, :length]
        *blocks, last = self.clip.transformer.resblocks
        for block in blocks:
            x = block(x, attn_mask=mask)
        conditioning = self.clip.ln_final(x)
        pooled = self.clip.ln_final(last(x, attn_mask=mask))[torch.arange(len(x), device=x.device), eos_index]
        return conditioning, nn.functional.normalize(pooled @ self.clip.text_projection, dim=-1)

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Encode texts: `tokenize`, then `forward`, on the tower's device.

        Args:
            texts: B strings; what does not fit 77 tokens is cut.

        Returns:
            last_hidden_state (B, 77, width) and text_embeds (B, embed_dim), the latter of length 1; float32 outside
            of autocast.
        """
        input_ids, eos_index = self.tokenize(texts)
        device = self.clip.text_projection.device
        encoded: tuple[Tensor, Tensor] = self(input_ids.to(device), eos_index.to(device))
        return encoded

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Encode pictures into the space of the keys.

        Args:
            pixels: (B, 3, H, W) float in [-1, 1], of the tower's own resolution.

        Returns:
            (B, embed_dim), of length 1.

        Raises:
            ValueError: The tower was read without its image tower.
        """
        if not hasattr(self.clip, "visual"):
            raise ValueError(
                "this text tower has no image tower, so it cannot read pictures; its folder needs open_clip's whole "
                "model (tensors named visual.*)"
            )
        features: Tensor = self.clip.encode_image(pixels, normalize=True)
        return features


def new_text_tower(model_cfg: dict[str, object]) -> TextTower:
    """A tower with fresh weights.

    Args:
        model_cfg: open_clip's ``model_cfg``: ``embed_dim``, ``vision_cfg``, ``text_cfg``.
    """
    return TextTower(CLIP(**model_cfg))


def new_text_only_tower(model_cfg: dict[str, object]) -> TextTower:
    """A tower with fresh weights that reads texts alone: no memory is spent on the image tower.

    Args:
        model_cfg: As `new_text_tower` takes it.
    """
    tower = TextTower(CLIP(**{**model_cfg, "vision_cfg": _SMALLEST_VISION}))
    del tower.clip.visual
    return tower.eval()


def save_text_tower(folder: Path, tower: TextTower, model_cfg: dict[str, object]) -> None:
    """Write open_clip's local layout (``local-dir:``), weights as float16."""
    folder.mkdir(parents=True, exist_ok=True)
    normalise = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    document = json.dumps({"model_cfg": model_cfg, "preprocess_cfg": normalise}, indent=2)
    save_atomically(folder / CONFIG_FILE, lambda path: path.write_text(document + "\n", encoding="utf-8"))
    weights = {key: value.detach().half().contiguous() for key, value in tower.clip.state_dict().items()}
    save_atomically(folder / WEIGHTS_FILE, lambda path: save_file(weights, path))


def load_text_tower(folder: Path, *, image_tower: bool = True) -> TextTower:
    """Read open_clip's local layout. The file may hold the text tower alone: a U-Net and a library need no more.

    Args:
        folder: The layout's folder.
        image_tower: Read the image tower too, if the file holds one.

    Raises:
        FileNotFoundError: The folder lacks the config or the weights.
        ValueError: One of them is damaged, or says something else.
    """
    try:
        model_cfg = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))["model_cfg"]
        with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
            names = list(file.keys())
            image_tower = image_tower and any(map(_sees, names))
            tower = new_text_tower(model_cfg) if image_tower else new_text_only_tower(model_cfg)
            # Tensor by tensor out of the mapped file, and to float32 only where they are copied to.
            weights = {name: file.get_tensor(name) for name in names if image_tower or not _sees(name)}
            tower.clip.load_state_dict(weights)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{folder}: not open_clip's local layout of a CLIP ({error}); copy the folder again"
        ) from error
    return tower.eval().requires_grad_(False)


def _sees(name: str) -> bool:
    return name.startswith("visual.")
