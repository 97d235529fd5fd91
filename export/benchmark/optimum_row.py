"""optimum-onnx's pipeline, drawing the folder that ``--layout optimum`` wrote, without retrieval."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime
import torch

from export.benchmark.errors import RowError
from export.benchmark.job import Drawn, Job
from ragturbo_runtime.noise import batch_noise


class OptimumDrawer:
    """`ORTDiffusionPipeline`.

    Args:
        job: What to load; its `optimum` is a folder.
    """

    compile_ms = preparing_ms = 0.0

    def __init__(self, job: Job) -> None:
        try:
            from optimum.onnxruntime import ORTDiffusionPipeline
        except ImportError as error:
            raise RowError(
                f"optimum-onnx is not installed ({error}); pip install --group baseline"
            ) from error
        torch.set_num_threads(job.threads)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 0 if job.device.is_cuda else job.threads
        ((provider, settings),) = job.device.providers
        self._job = job
        self._pipeline: Any = ORTDiffusionPipeline.from_pretrained(
            job.optimum, provider=provider, provider_options=settings or None, session_options=options
        )
        self._pipeline.set_progress_bar_config(disable=True)
        self.note = _half_or_single(self._pipeline.unet.session, job)

    def draw(self, row: str, prompt: str, seed: int) -> Drawn:
        """One step, guidance 0, from the noise of our seed."""
        noise = torch.from_numpy(batch_noise((seed,), self._job.latent_shape))
        start = time.perf_counter()
        pictures = self._pipeline(
            prompt, latents=noise.to(self._pipeline.device), num_inference_steps=1, guidance_scale=0.0
        ).images
        self._job.device.synchronize()
        return Drawn((time.perf_counter() - start) * 1e3, np.asarray(pictures[0]))


def _half_or_single(session: onnxruntime.InferenceSession, job: Job) -> str:
    """Say it where a card runs single precision beside rows in half."""
    half = any(item.type == "tensor(float16)" for item in session.get_inputs())
    return "its graphs are float32" if job.device.is_cuda and not half else ""
