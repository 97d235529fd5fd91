"""The U-Net, once per step: encoder, adapter, decoder. What lies between them stays on the device."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np

from ragturbo_runtime.arrays import Latents
from ragturbo_runtime.graphs import Graphs
from ragturbo_runtime.lookup import Conditioning, Found
from ragturbo_runtime.sampler import Schedule
from ragturbo_runtime.stopwatch import Stopwatch
from ragturbo_runtime.tensors import Tensor, to_float32


def denoise(
    graphs: Graphs,
    schedule: Schedule,
    sample: Latents,
    embeds: Tensor,
    timesteps: tuple[int, ...],
    found: Future[Found],
    watch: Stopwatch,
) -> Latents:
    """Take a sample through all timesteps.

    Args:
        graphs: The pipeline's graphs.
        schedule: Noise levels.
        sample: (B, c, h, w) float32 at the first timestep.
        embeds: (B, 77, D), where the graphs run.
        timesteps: Train timesteps, falling.
        found: The references; waited for when the first encoder has run.
        watch: Takes the times.

    Returns:
        (B, c, h, w) float32, the clean latents.

    Raises:
        InferenceError: A graph failed.
        RetrievalError: The references could not be looked up.
    """
    for t, next_t in zip(timesteps, (*timesteps[1:], None), strict=True):
        output = _predict(graphs, sample, t, embeds, found, watch)
        sample = schedule.step(sample, output, t, next_t)
    return sample


def _predict(
    graphs: Graphs, sample: Latents, timestep: int, embeds: Tensor, found: Future[Found], watch: Stopwatch
) -> Latents:
    encoder = graphs["unet_encoder"]
    with watch.stage("unet_encoder"):
        # Brought to the device once for both halves.
        timestep_ids = encoder.put("timestep", np.full(len(sample), timestep, dtype=np.int64))
        condition: dict[str, Tensor] = {"timestep": timestep_ids, "encoder_hidden_states": embeds}
        hidden = dict(encoder.run_on_device({"sample": sample, **condition}))
    conditioning = found.result().conditioning
    if conditioning is not None:
        with watch.stage("adapter"):
            hidden["h"] = _fuse(graphs, hidden["h"], conditioning)
    with watch.stage("unet_decoder"):
        return to_float32(graphs["unet_decoder"].run_on_device({**hidden, **condition})["out_sample"])


def _fuse(graphs: Graphs, h: Tensor, conditioning: Conditioning) -> Tensor:
    feeds: dict[str, Tensor] = {
        "h": h,
        "reference_h": conditioning.features,
        "reference_scale": conditioning.scale,
        "reference_weight": conditioning.weights,
        "strength": conditioning.strength,
    }
    return graphs["adapter"].run_on_device(feeds)["fused_h"]
