"""Writes a plain pipeline, without retrieval: the folder that optimum-onnx's `ORTDiffusionPipeline` loads.

For programs that are built on optimum already, and to measure against. A picture with references needs a bundle.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
from tqdm import tqdm

from export.bundle_writer import describe_parity
from export.clip_tokenizer import write_clip_tokenizer
from export.graphs import CONTEXT_LENGTH, GraphSpec
from export.models import Models
from export.pipeline_graphs import pipeline_specs
from export.staging import staging
from export.storage import store
from export.trace import trace
from ragturbo_runtime.manifest import Parity
from training.family.folder import save_json
from training.family.text_tower import TextTower

MARKER = "ragturbo.json"
"""Says what the pipeline was made from, and how near its graphs are to torch; optimum does not read it."""
_SCHEDULER = "EulerDiscreteScheduler"
_OPTIMUM = "optimum.onnxruntime.modeling_diffusion"


def write_pipeline(models: Models, out: Path, *, report: Callable[[str], None]) -> Path:
    """Export and check the four graphs of a pipeline, and only then put the folder in its place.

    Args:
        models: What to export; what injects references takes no part.
        out: The pipeline's folder; one that this function wrote before is replaced.
        report: Called with one line per graph.

    Returns:
        The folder.

    Raises:
        ParityError: A graph does not compute what torch computes. Nothing is left on the disk.
        ExportError: Something cannot be exported, or `out` holds something else.
        RagTurboError: A file cannot be written.
    """
    with staging(out, kind="pipeline that --layout optimum wrote", marker=MARKER) as folder:
        specs = tqdm(pipeline_specs(models), desc="graphs", unit="graph")
        parity = {spec.name: _write_graph(folder / spec.name, spec, report) for spec in specs}
        _write_configs(folder, models)
        write_clip_tokenizer(folder / "tokenizer")
        family = {"name": models.family.name, "hashes": models.hashes}
        save_json(folder / MARKER, {"family": family, "parity": {k: _finite(v) for k, v in parity.items()}})
    return out


def _write_graph(folder: Path, spec: GraphSpec, report: Callable[[str], None]) -> Parity:
    stored = store(trace(spec), spec, folder)
    report(f"{describe_parity(spec.name, stored.parity)}, {stored.bytes / 1e6:.1f} MB")
    return stored.parity


def _write_configs(folder: Path, models: Models) -> None:
    """Everything that says how the graphs are put together, as diffusers keeps it."""
    family = models.family
    scheduler = {"_class_name": _SCHEDULER, **family.scheduler}
    vae = _config(family.vae)
    save_json(folder / "model_index.json", _model_index(scheduler["_class_name"]))
    save_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    save_json(folder / "text_encoder" / "config.json", _text_config(family.text))
    save_json(folder / "unet" / "config.json", _config(family.unet))
    save_json(folder / "vae_decoder" / "config.json", vae)
    save_json(folder / "vae_encoder" / "config.json", vae)


def _model_index(scheduler: str) -> dict[str, Any]:
    absent: list[None] = [None, None]
    return {
        "_class_name": "ORTStableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", scheduler],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "text_encoder": [_OPTIMUM, "ORTTextEncoder"],
        "unet": [_OPTIMUM, "ORTUnet"],
        "vae": [_OPTIMUM, "ORTVae"],
        "feature_extractor": absent,
        "image_encoder": absent,
        "safety_checker": absent,
        "requires_safety_checker": False,
    }


def _config(model: Any) -> dict[str, Any]:  # noqa: ANN401 - a diffusers class
    """Every setting, defaults included, but for where it was read from."""
    settings: dict[str, Any] = json.loads(model.to_json_string())
    return {key: value for key, value in settings.items() if key != "_name_or_path"}


def _text_config(tower: TextTower) -> dict[str, Any]:
    """As transformers describes Stable Diffusion 2's text encoder: the last layer, which nobody reads, is gone."""
    blocks = tower.clip.transformer.resblocks
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "hidden_act": "gelu",
        "hidden_size": tower.width,
        "intermediate_size": blocks[0].mlp.c_fc.out_features,
        "num_attention_heads": blocks[0].attn.num_heads,
        "num_hidden_layers": len(blocks) - 1,
        "max_position_embeddings": CONTEXT_LENGTH,
        "projection_dim": tower.embed_dim,
        "vocab_size": tower.clip.token_embedding.num_embeddings,
        "layer_norm_eps": tower.clip.ln_final.eps,
        "bos_token_id": tower.clip.token_embedding.num_embeddings - 2,
        "eos_token_id": tower.clip.token_embedding.num_embeddings - 1,
        "pad_token_id": 0,
    }


def _finite(parity: Parity) -> dict[str, float | None]:
    """JSON has no infinity: the PSNR of two equal arrays is written as null."""
    values = dataclasses.asdict(parity)
    return {
        key: value if value is not None and math.isfinite(value) else None for key, value in values.items()
    }
