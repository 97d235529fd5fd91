"""A family on disk: the layout of diffusers plus an open_clip text tower, and how to read and write it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from ragturbo_runtime.files import hash_file
from training.atomic import save_atomically
from training.data.world import World, parse_world
from training.family.text_tower import WEIGHTS_FILE, TextTower, load_text_tower
from training.family.weight_files import DIFFUSERS_WEIGHTS, find_weights

SETTINGS_FILE = "family.json"
HASHED = {
    "unet": f"unet/{DIFFUSERS_WEIGHTS}",
    "text_encoder": f"text_encoder/{WEIGHTS_FILE}",
    "vae": f"vae/{DIFFUSERS_WEIGHTS}",
}
"""The parts whose weights say which base an adapter was trained for, and where our own families keep them."""
CONFIGS = ("vae/config.json", "unet/config.json", "scheduler/scheduler_config.json")
"""What says how the weights are used: the latents' scale, the U-Net's shape, the noise schedule."""
LATENT_CONFIGS = ("vae/config.json", "scheduler/scheduler_config.json")
"""What latents and their noise depend on, whichever U-Net is to learn from them."""


@dataclass
class Family:
    """A base model, frozen, ready to draw with."""

    path: Path
    name: str
    resolution: int
    """Side of a picture in pixels."""
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    """The one-step student."""
    text: TextTower
    scheduler: dict[str, Any]
    """scheduler_config.json: betas, prediction type, spacing; the sampler obeys it."""
    settings: dict[str, Any]
    """family.json: name, resolution, the config that it was trained with, the scores of its stages."""

    @property
    def world(self) -> World:
        """The concepts and the seed that it was trained with: see `world_of`."""
        return world_of(self.settings, self.path)


def load_family(path: Path, *, device: str | torch.device = "cpu", image_tower: bool = True) -> Family:
    """Read a family; its weights may be stored as float16, all computing is float32.

    Args:
        path: The family's folder.
        device: Where to put it.
        image_tower: False: the image tower beside the text tower is not read, even if it is there (ViT-H-14: 2.5 GB).

    Raises:
        FileNotFoundError: A part is missing; the message names it.
    """
    settings = read_settings(path)
    return Family(
        path=path,
        name=settings["name"],
        resolution=settings["resolution"],
        vae=freeze(AutoencoderKL, path / "vae", device),
        unet=freeze(UNet2DConditionModel, path / "unet", device),
        text=load_text_tower(path / "text_encoder", image_tower=image_tower).to(device),
        scheduler=read_json(path / "scheduler" / "scheduler_config.json"),
        settings=settings,
    )


def load_teacher(path: Path, *, device: str | torch.device = "cpu") -> UNet2DConditionModel:
    """Read a family's many-step U-Net.

    Raises:
        FileNotFoundError: The family has none (it can still be drawn with, but not trained).
    """
    return freeze(UNet2DConditionModel, path / "teacher", device)


def freeze(kind: Any, folder: Path, device: str | torch.device = "cpu") -> Any:  # noqa: ANN401 - a diffusers class
    """Read one diffusers model as float32, in eval mode, without gradients: from one file, shards, or a variant.

    Raises:
        FileNotFoundError: There is no such model, or a shard is missing.
        ValueError: Weights are missing, or there are several variants of them.
    """
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"{folder}: no config.json; expected {kind.__name__} in diffusers' layout")
    model = kind.from_pretrained(
        folder,
        local_files_only=True,
        torch_dtype=torch.float32,
        use_safetensors=True,
        variant=find_weights(folder).variant,
    )
    if missing := [name for name, parameter in model.named_parameters() if parameter.is_meta]:
        raise ValueError(
            f"{folder}: the weights lack {len(missing)} tensors that config.json asks for (first: {missing[0]}); "
            "copy the folder again"
        )
    return model.float().eval().requires_grad_(False).to(device)


def save_part(model: AutoencoderKL | UNet2DConditionModel, folder: Path) -> None:
    """Write one diffusers model as float16 safetensors, whole or not at all.

    The weights in memory are rounded alike, so that what goes on equals what a reader of the file will see.
    """
    from safetensors.torch import save_file

    for parameter in model.parameters():
        parameter.data = parameter.data.half().to(parameter.dtype)
    config = {key: value for key, value in model.config.items() if key != "_name_or_path"}
    save_json(folder / "config.json", config)
    weights = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    save_atomically(
        folder / DIFFUSERS_WEIGHTS, lambda path: save_file(weights, path, metadata={"format": "pt"})
    )


def family_hashes(path: Path) -> dict[str, str]:
    """The sha256 of the base's weights, by part, and of its configs: what an adapter and a bundle are tied to.

    Args:
        path: The family's folder.

    Returns:
        Keys ``unet`` (the student), ``text_encoder``, ``vae`` and ``configs``: 64 hexadecimal digits each.

    Raises:
        FileNotFoundError: A part is missing; the message names it.
        ValueError: A config is no JSON object.
    """
    hashes = {part: weights_hash(path, part) for part in HASHED}
    hashes["configs"] = configs_hash(path)
    return hashes


def weights_hash(path: Path, part: str) -> str:
    """The sha256, hex, of one part's weights.

    Args:
        path: The family's folder.
        part: ``text_encoder``, or a diffusers model: ``unet``, ``vae``, ``teacher``.

    Raises:
        FileNotFoundError: The weights or one of their shards are missing.
        ValueError: There are several variants of them.
    """
    if part == "text_encoder":
        return hash_file(path / part / WEIGHTS_FILE)
    return find_weights(path / part).sha256


def configs_hash(path: Path, names: Sequence[str] = CONFIGS) -> str:
    """The sha256, hex, of some configs of a family.

    Keys that start with "_" are notes of the library that wrote them, such as its version: they do not count.
    """
    documents = {
        name: {key: value for key, value in read_json(path / name).items() if not key.startswith("_")}
        for name in names
    }
    return hashlib.sha256(json.dumps(documents, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def world_of(settings: Mapping[str, Any], path: Path) -> World:
    """The concepts and the seed that a family was trained with.

    Args:
        settings: Its family.json.
        path: Its folder, for the message.

    Raises:
        ValueError: It was not trained on a world of drawn scenes.
    """
    if "world" not in settings.get("config", {}):
        raise ValueError(
            f"{path}: {settings.get('name', 'the family')} knows no world of drawn scenes; give the run pictures and "
            "prompts of your own ([data] library and prompts)"
        )
    return parse_world(settings["config"]["world"])


def read_settings(path: Path) -> dict[str, Any]:
    """Read a family's family.json.

    Args:
        path: The family's folder.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is no JSON object, or lacks a key; says what one looks like.
    """
    if not (path / SETTINGS_FILE).is_file():
        raise FileNotFoundError(
            f"{path} is no family: it holds no {SETTINGS_FILE}; train one with python -m training.family --config FILE "
            f"--out {path}, or write random weights with --random SIZE"
        )
    settings = read_json(path / SETTINGS_FILE)
    for key, kind in (("name", str), ("resolution", int)):
        if not isinstance(settings.get(key), kind):
            raise ValueError(
                f'{path / SETTINGS_FILE}: {key} is {settings.get(key)!r}; the least is {{"name": "sd-turbo", '
                '"resolution": 512}'
            )
    return settings


def save_json(path: Path, document: dict[str, Any]) -> None:
    """Write JSON, indented, whole or not at all."""
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    save_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is no JSON object; the message names the file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(document).__name__}")
    return document
