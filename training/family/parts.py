"""Whether the parts in a family's folder fit the config that is to go on with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from training.data.world import World
from training.differences import differences
from training.family.config import FamilyConfig
from training.family.folder import SETTINGS_FILE, read_json

_PICTURES = ("resolution", *(f"world.{field.name}" for field in fields(World)))
_VAE = ("vae.block_out_channels", "vae.latent_channels")
_TEXT = tuple(f"text.{key}" for key in ("width", "layers", "heads", "patch_size", "embed_dim"))
_UNET = ("teacher.block_out_channels", "teacher.attention_head_dim")
MATTERS = {
    "vae": (*_PICTURES, *_VAE),
    "text_encoder": (*_PICTURES, *_TEXT),
    "teacher": (*_PICTURES, *_VAE, *_TEXT, *_UNET),
    "unet": (*_PICTURES, *_VAE, *_TEXT, *_UNET, "student.encoder_layers"),
}
"""By part, the keys of the config that it was shaped by; steps, batches and the library's size may differ."""


def check_parts(config: FamilyConfig, out: Path, parts: Sequence[str]) -> None:
    """Refuse to go on with parts that were made with another world or other shapes.

    Args:
        config: What is to be trained.
        out: The family's folder.
        parts: Which parts lie there: keys of `MATTERS`. None of them is always right.

    Raises:
        ValueError: family.json says other values, or is missing; names all that differ, and the way out.
    """
    if not parts:
        return
    way_out = "use another --out, or delete this folder"
    if not (out / SETTINGS_FILE).exists():
        raise ValueError(
            f"{out} holds {', '.join(parts)} but no {SETTINGS_FILE} to say what they were made with; {way_out}"
        )
    found, here = read_json(out / SETTINGS_FILE).get("config"), json.loads(json.dumps(asdict(config)))
    keys = dict.fromkeys(key for part in parts for key in MATTERS[part])
    if differing := [key for key in keys if _value(found, key) != _value(here, key)]:
        there, wanted = ({key: _value(one, key) for key in differing} for one in (found, here))
        lines = differences(there, wanted)
        raise ValueError(f"{out} holds {', '.join(parts)} of another config ({lines}); {way_out}")


def _value(document: object, key: str) -> object:
    """What stands under a key such as ``text.width``; None if nothing does."""
    for name in key.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document
