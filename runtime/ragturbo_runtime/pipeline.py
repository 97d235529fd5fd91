"""The chain of graphs: prompts in, pictures out.

::

    prompts -> text_encoder -> prompt_embeds, keys -> search -> references -> features
    noise -> unet_encoder -> h, skips -> adapter(h, features) -> unet_decoder -> step -> vae_decoder -> pixels

References are looked up in a thread of their own while the U-Net's encoder runs, which needs none of them.
Without references the adapter graph does not run at all: the picture is the base model's, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ragturbo_runtime.arrays import Features, Keys, Latents, PromptEmbeds, Scale, Weights
from ragturbo_runtime.beside import Beside
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.errors import InferenceError, RetrievalError
from ragturbo_runtime.finite import require_finite
from ragturbo_runtime.image import to_pixels
from ragturbo_runtime.library import Library, Reference
from ragturbo_runtime.loading import Parts, open_parts
from ragturbo_runtime.noise import batch_noise
from ragturbo_runtime.phrases import split_phrases
from ragturbo_runtime.requests import MAX_PICTURES, DrawRequest, DrawResult, PromptEncoding
from ragturbo_runtime.retriever import Calibration, Retriever
from ragturbo_runtime.session import GraphSession, Tensor
from ragturbo_runtime.stopwatch import Stopwatch
from ragturbo_runtime.tokenizer import TokenBatch


class _Conditioning(NamedTuple):
    """What the adapter adds to one batch, padded to the picture with the most references."""

    features: Features  # (B, K, T, C)
    scale: Scale  # (C,)
    weights: Weights  # (B, K), 0 where padded
    strength: NDArray[np.float32]  # (B,)


class _Found(NamedTuple):
    """What was looked up for one batch."""

    references: list[list[Reference]]  # per picture
    conditioning: _Conditioning | None
    watch: Stopwatch


class Pipeline:
    """A bundle, loaded. Several threads may draw with one pipeline at once.

    Attributes:
        bundle: What it was loaded from.
        device: ``"cpu"`` or ``"cuda:0"``: where the graphs really run.
        library: The references, or None where the bundle has none.
    """

    def __init__(self, bundle: Bundle, parts: Parts) -> None:
        """Wire opened parts together; ``Pipeline.load`` is the way in."""
        spec = bundle.manifest.adapter
        self.bundle = bundle
        self.device = parts.device.name
        self.library: Library | None = parts.library
        self._tokenizer = parts.tokenizer
        self._schedule = parts.schedule
        self._graphs = parts.graphs
        self._calibration = Calibration(spec.similarity_low, spec.similarity_high)
        self._beside = Beside()

    @classmethod
    def load(cls, bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> Pipeline:
        """Load the graphs, the tokenizer and the library of a bundle.

        Args:
            bundle: An opened bundle.
            device: ``"auto"`` (CUDA if it works here, else the CPU), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
            threads: Threads per graph on the CPU; None: one per physical core.

        Returns:
            The pipeline.

        Raises:
            InvalidInputError: The device's name cannot be read.
            ProviderUnavailableError: The device was asked for by name and cannot be used.
            BundleCorruptError: A file is not what the manifest says.
            RetrievalError: The library cannot be read, or was made for another model.
        """
        return cls(bundle, open_parts(bundle, device=device, threads=threads))

    def __enter__(self) -> Pipeline:
        """Return the pipeline itself."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the pipeline."""
        self.close()

    def close(self) -> None:
        """Close the library and let go of the graphs; drawing afterwards raises InferenceError."""
        self._graphs = {}
        self._beside.close()
        if self.library is not None:
            self.library.close()

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEncoding:
        """Run the text encoder on whole prompts, at the full context length.

        Args:
            prompts: 1 to 64 prompts.

        Returns:
            Embeddings, retrieval keys and the words that did not fit.

        Raises:
            InvalidInputError: A prompt is no string.
            InferenceError: The graph failed.
        """
        batch = self._tokenizer.encode(prompts)
        out = self._encode(batch)
        return PromptEncoding(out["last_hidden_state"], out["text_embeds"], batch.cut)

    def encode_phrases(self, phrases: Sequence[str]) -> Keys:
        """Run the text encoder for retrieval keys alone, at the length of the longest phrase.

        The encoder is causal, so a key does not depend on the padding behind it.

        Args:
            phrases: Any number of texts.

        Returns:
            (P, E) float32 unit vectors.

        Raises:
            InvalidInputError: A phrase is no string.
            InferenceError: The graph failed.
        """
        keys = [np.empty((0, self.bundle.manifest.text.embed_dim), dtype=np.float32)]
        for start in range(0, len(phrases), MAX_PICTURES):
            batch = self._tokenizer.encode(phrases[start : start + MAX_PICTURES]).shortened()
            keys.append(self._encode(batch)["text_embeds"])
        return np.concatenate(keys)

    def retrieve(
        self, prompt: str, key: Keys, *, references: int, retrieval_threshold: float = 0.0
    ) -> list[Reference]:
        """Look up the references of one prompt: the nearest to the whole and to each object phrase, in turn.

        Args:
            prompt: The prompt; its object phrases become queries of their own.
            key: (E,) float32, the prompt's key.
            references: The most to return, 1 or more.
            retrieval_threshold: References of a smaller cosine are left out.

        Returns:
            At most ``references`` of them, in the order they were taken.

        Raises:
            InvalidInputError: The key has another width.
            RetrievalError: The bundle has no library, or it cannot be read.
            InferenceError: The text encoder failed.
        """
        queries = np.concatenate([key[None], self.encode_phrases(_queries(prompt))])
        return self._search(queries, references, retrieval_threshold)

    def draw(self, request: DrawRequest) -> DrawResult:
        """Draw pictures.

        Args:
            request: Prompts, seeds and options.

        Returns:
            Pictures, latents, references, timings.

        Raises:
            InvalidInputError: An option is out of range.
            RetrievalError: References were asked for and there is no library, or it cannot be read.
            InferenceError: A graph failed or drew no picture.
        """
        latents = self.bundle.manifest.latents
        shape = (latents.channels, latents.height, latents.width)
        request.check(max_references=self.bundle.manifest.adapter.max_references, latent_shape=shape)
        timesteps = self._schedule.timesteps(int(request.steps))
        noise = request.noise if request.noise is not None else batch_noise(request.seeds, shape)

        watch = Stopwatch()
        distinct = list(dict.fromkeys(request.prompts))
        order = [distinct.index(prompt) for prompt in request.prompts]
        with watch.stage("text_encoder"):
            encoding = self.encode_prompts(distinct)
        embeds = np.ascontiguousarray(encoding.prompt_embeds[order])
        sample = self._schedule.initial_sample(noise, timesteps[0])
        # Last: Python's lock is free for the lookups only while a graph runs, and until then they would hold it up.
        found = self._look_up_beside(distinct, order, encoding.keys, request)
        sample = self._denoise(sample, embeds, timesteps, found, watch)
        with watch.stage("vae_decoder"):
            decoded = self._run("vae_decoder", {"latent_sample": sample})["sample"]
            images = to_pixels(decoded)
        watch.add(found.result().watch)
        cut = tuple(encoding.cut[i] for i in order)
        return DrawResult(images, sample, found.result().references, watch.timings(), cut)

    def _encode(self, batch: TokenBatch) -> dict[str, NDArray[np.float32]]:
        outputs = self._run("text_encoder", {"input_ids": batch.input_ids, "eos_index": batch.eos_index})
        for values in outputs.values():
            require_finite(values, graph="text_encoder")
        return outputs

    def _look_up_beside(
        self, prompts: list[str], order: list[int], keys: Keys, request: DrawRequest
    ) -> Future[_Found]:
        """Start looking up the references of a batch; without references it is done at once."""
        if request.references == 0:
            nothing: Future[_Found] = Future()
            nothing.set_result(_Found([[] for _ in order], None, Stopwatch()))
            return nothing
        self._require_library()
        return self._beside.run(lambda: self._look_up(prompts, order, keys, request))

    def _look_up(self, prompts: list[str], order: list[int], keys: Keys, request: DrawRequest) -> _Found:
        watch = Stopwatch()
        found = self._retrieve_all(prompts, keys, request, watch)
        references = [found[i] for i in order]
        return _Found(references, self._conditioning(references, request.strength, watch), watch)

    def _retrieve_all(
        self, prompts: list[str], keys: Keys, request: DrawRequest, watch: Stopwatch
    ) -> list[list[Reference]]:
        queries = [_queries(prompt) for prompt in prompts]
        with watch.stage("text_encoder"):
            phrase_keys = self.encode_phrases([phrase for phrases in queries for phrase in phrases])
        found = []
        start = 0
        for key, phrases in zip(keys, queries, strict=True):
            own = np.concatenate([key[None], phrase_keys[start : start + len(phrases)]])
            start += len(phrases)
            with watch.stage("search"):
                found.append(self._search(own, int(request.references), request.retrieval_threshold))
        return found

    def _search(self, queries: Keys, references: int, retrieval_threshold: float) -> list[Reference]:
        library = self._require_library()
        got = Retriever(library, self._calibration).retrieve(
            queries, references=references, retrieval_threshold=retrieval_threshold
        )
        return library.references(got.rows, got.similarities, got.weights)

    def _conditioning(
        self, references: list[list[Reference]], strength: float, watch: Stopwatch
    ) -> _Conditioning | None:
        """Gather features and weights; None where nothing would be added."""
        used = [[r for r in own if r.weight > 0] for own in references]
        most = max(map(len, used))
        if most == 0 or strength == 0:
            return None
        library = self._require_library()
        with watch.stage("features"):
            rows = np.zeros((len(used), most), dtype=np.int64)
            weights = np.zeros((len(used), most), dtype=np.float32)
            for i, own in enumerate(used):
                rows[i, : len(own)] = [r.row for r in own]
                weights[i, : len(own)] = [r.weight for r in own]
            features = library.features(rows)
        return _Conditioning(features, library.scale, weights, np.full(len(used), strength, dtype=np.float32))

    def _denoise(
        self,
        sample: Latents,
        embeds: PromptEmbeds,
        timesteps: tuple[int, ...],
        found: Future[_Found],
        watch: Stopwatch,
    ) -> Latents:
        for t, next_t in zip(timesteps, (*timesteps[1:], None), strict=True):
            output = self._predict(sample, t, embeds, found, watch)
            sample = self._schedule.step(sample, output, t, next_t)
        return sample

    def _predict(
        self,
        sample: Latents,
        timestep: int,
        embeds: PromptEmbeds,
        found: Future[_Found],
        watch: Stopwatch,
    ) -> Latents:
        """Run the U-Net once: encoder, adapter, decoder. What lies between them stays on the device."""
        timestep_ids = np.full(len(sample), timestep, dtype=np.int64)
        condition: dict[str, Tensor] = {"timestep": timestep_ids, "encoder_hidden_states": embeds}
        with watch.stage("unet_encoder"):
            hidden = dict(self._graph("unet_encoder").run_on_device({"sample": sample, **condition}))
        conditioning = found.result().conditioning
        if conditioning is not None:
            with watch.stage("adapter"):
                hidden["h"] = self._graph("adapter").run_on_device(
                    {
                        "h": hidden["h"],
                        "reference_h": conditioning.features,
                        "reference_scale": conditioning.scale,
                        "reference_weight": conditioning.weights,
                        "strength": conditioning.strength,
                    }
                )["fused_h"]
        with watch.stage("unet_decoder"):
            return self._run("unet_decoder", {**hidden, **condition})["out_sample"]

    def _run(self, name: str, feeds: dict[str, Tensor]) -> dict[str, NDArray[np.float32]]:
        return self._graph(name).run(feeds)

    def _graph(self, name: str) -> GraphSession:
        graph = self._graphs.get(name)
        if graph is None:
            raise InferenceError(f"{name}: the pipeline was closed", graph=name, hint="load it again")
        return graph

    def _require_library(self) -> Library:
        if self.library is None:
            raise RetrievalError(
                f"{self.bundle.path}: the bundle has no library to retrieve from",
                hint="draw with references=0, or export with --library",
            )
        return self.library


def _queries(prompt: str) -> list[str]:
    """The object phrases of a prompt that are not the prompt itself."""
    whole = " ".join(prompt.lower().split())
    return [phrase for phrase in split_phrases(prompt) if phrase != whole]
