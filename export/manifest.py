"""The manifest of a bundle: everything that the runtime must know about a family."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from export.graphs import CONTEXT_LENGTH, MAX_REFERENCES
from export.models import Models
from export.pictures import has_generator
from ragturbo_runtime.manifest import (
    AdapterSpec,
    FamilyInfo,
    FileEntry,
    GraphEntry,
    LatentSpec,
    LibraryPart,
    Manifest,
    Parity,
    TextSpec,
)
from training.models.slerp import SlerpAdapter

BUNDLE_VERSION = "0.2.0"
SDK_RANGE = ">=0.2.0,<0.3.0"
_SCHEDULER_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "prediction_type",
    "rescale_betas_zero_snr",
    "timestep_spacing",
)
"""What the sampler reads; the rest of scheduler_config.json concerns diffusers alone."""


def make_manifest(
    models: Models,
    graphs: Mapping[str, GraphEntry],
    tokenizer: FileEntry,
    library: LibraryPart | None,
    library_licence: str,
) -> Manifest:
    """Describe a bundle. The parity of the whole chain is filled in when it has been measured.

    Args:
        models: What was exported.
        graphs: The graphs, by name.
        tokenizer: The tokenizer's file.
        library: The library, or None.
        library_licence: Of its pictures; "" without one.

    Returns:
        The manifest.
    """
    family, metadata = models.family, models.metadata
    c, height, width = models.latent_shape
    licences = {"weights": str(family.settings.get("licence", _weights_licence(models)))}
    return Manifest(
        name=family.name,
        bundle_version=BUNDLE_VERSION,
        sdk=SDK_RANGE,
        family=FamilyInfo(family.name, models.hashes),
        licences=licences | ({"library": library_licence} if library is not None else {}),
        key_space_id=key_space_id(models),
        h_space_id=h_space_id(models),
        picture_height=family.resolution,
        picture_width=family.resolution,
        latents=LatentSpec(c, height, width, float(family.vae.config["scaling_factor"])),
        scheduler={key: family.scheduler[key] for key in _SCHEDULER_KEYS if key in family.scheduler},
        adapter=AdapterSpec(
            channels=metadata.channels,
            tokens=metadata.tokens,
            default_references=metadata.references,
            max_references=MAX_REFERENCES,
            similarity_low=metadata.similarity_low,
            similarity_high=metadata.similarity_high,
            reference_timestep=metadata.reference_timestep,
            reference_caption=metadata.reference_caption,
            reference_pool=metadata.reference_pool,
            feature_codec=models.feature_codec,
            mode="slerp" if isinstance(models.adapter, SlerpAdapter) else "attention",
            slerp_share=models.adapter.share if isinstance(models.adapter, SlerpAdapter) else None,
        ),
        text=TextSpec(family.text.width, family.text.embed_dim, CONTEXT_LENGTH),
        tokenizer=tokenizer,
        graphs=graphs,
        parity=Parity(None, None, None),
        library=library,
    )


def _weights_licence(models: Models) -> str:
    """Families that this project trains are Apache-2.0; a base that the user brought keeps its own licence."""
    return "Apache-2.0" if has_generator(models.family) else "that of the base model"


def key_space_id(models: Models) -> str:
    """Return a hash of what keys are made with: the text encoder."""
    return _identity({"text_encoder": models.hashes["text_encoder"]})


def h_space_id(models: Models) -> str:
    """Return a hash of what features are made with: the base's encoders and configs, timestep, caption, pooling.

    The adapter and its LoRA are no part of it: retraining them keeps a library valid.
    """
    metadata = models.metadata
    base = {name: models.hashes[name] for name in ("unet", "text_encoder", "vae", "configs")}
    taken = {
        "timestep": metadata.reference_timestep,
        "caption": metadata.reference_caption,
        "pool": metadata.reference_pool,
    }
    return _identity({**base, **taken})


def _identity(parts: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
