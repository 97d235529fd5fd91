"""The six graphs of the nano bundle: the real signatures, random weights, a few kilobytes each.

They are small models of the real ones in what the runtime depends on: the text encoder is causal (a key does
not depend on padding), the adapter masks by weight and adds nothing at weight 0, and the decoder inverts the
encoder's shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ragturbo_runtime.manifest import TensorSpec

WIDTH = 16  # D of the prompt embeddings
EMBED = 24  # E of the keys
CONTEXT = 77
CHANNELS = 32  # C of the h-space
SIDE = 4  # hh = hw
TOKENS = SIDE * SIDE
LATENTS = (4, 8, 8)
PICTURE = 32
SKIPS = ((16, 8, 8), (32, 4, 4))
VOCABULARY = 997  # token ids are taken modulo this prime, so that the embedding stays small
OPSET = 18

_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int8": TensorProto.INT8,
}
# With half inputs and outputs, these stay in single precision, as an exporter may choose.
_SINGLE = {"text_embeds", "reference_scale", "reference_weight", "strength"}

_EMBEDS = TensorSpec("encoder_hidden_states", "float32", ("batch", CONTEXT, WIDTH))
_TIMESTEP = TensorSpec("timestep", "int64", ("batch",))
_LATENT_SHAPE = ("batch", *LATENTS)
_H_SHAPE = ("batch", CHANNELS, SIDE, SIDE)
_SKIPS = tuple(TensorSpec(f"skip_{i}", "float32", ("batch", *shape)) for i, shape in enumerate(SKIPS))

SIGNATURES: dict[str, tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]] = {
    "text_encoder": (
        (TensorSpec("input_ids", "int64", ("batch", "length")), TensorSpec("eos_index", "int64", ("batch",))),
        (
            TensorSpec("last_hidden_state", "float32", ("batch", "length", WIDTH)),
            TensorSpec("text_embeds", "float32", ("batch", EMBED)),
        ),
    ),
    "unet_encoder": (
        (TensorSpec("sample", "float32", _LATENT_SHAPE), _TIMESTEP, _EMBEDS),
        (TensorSpec("h", "float32", _H_SHAPE), *_SKIPS),
    ),
    "adapter": (
        (
            TensorSpec("h", "float32", _H_SHAPE),
            TensorSpec("reference_h", "int8", ("batch", "references", TOKENS, CHANNELS)),
            TensorSpec("reference_scale", "float32", (CHANNELS,)),
            TensorSpec("reference_weight", "float32", ("batch", "references")),
            TensorSpec("strength", "float32", ("batch",)),
        ),
        (TensorSpec("fused_h", "float32", _H_SHAPE),),
    ),
    "unet_decoder": (
        (TensorSpec("h", "float32", _H_SHAPE), *_SKIPS, _TIMESTEP, _EMBEDS),
        (TensorSpec("out_sample", "float32", _LATENT_SHAPE),),
    ),
    "vae_decoder": (
        (TensorSpec("latent_sample", "float32", _LATENT_SHAPE),),
        (TensorSpec("sample", "float32", ("batch", 3, PICTURE, PICTURE)),),
    ),
    "vae_encoder": (
        (TensorSpec("sample", "float32", ("batch", 3, PICTURE, PICTURE)),),
        (TensorSpec("latent_sample", "float32", _LATENT_SHAPE),),
    ),
}


def signature(name: str, *, half: bool = False) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return inputs and outputs of a graph.

    Args:
        name: One of SIGNATURES.
        half: Whether tensors between graphs are float16, as those of the ``cuda-fp16`` flavour may be.

    Returns:
        Inputs, outputs.
    """
    inputs, outputs = SIGNATURES[name]
    return (tuple(map(_halved, inputs)), tuple(map(_halved, outputs))) if half else (inputs, outputs)


def _halved(spec: TensorSpec) -> TensorSpec:
    kept = spec.dtype != "float32" or spec.name in _SINGLE
    return spec if kept else replace(spec, dtype="float16")


def build_graph(name: str, *, seed: int, half: bool = False) -> bytes:
    """Build one graph.

    Args:
        name: One of SIGNATURES.
        seed: Decides the weights.
        half: As for ``signature``; inside, the graph computes in float32 all the same.

    Returns:
        A checked, serialised ONNX model.
    """
    builder = _Builder(np.random.default_rng([seed, sorted(SIGNATURES).index(name)]))
    _BUILDERS[name](builder)
    inputs, outputs = signature(name, half=half)
    nodes = _with_casts(builder.nodes, inputs, outputs)
    graph = helper.make_graph(
        nodes, name, [_value(s) for s in inputs], [_value(s) for s in outputs], builder.initializers
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _with_casts(
    nodes: Sequence[onnx.NodeProto], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> list[onnx.NodeProto]:
    """Put a Cast at each half input and output of nodes that compute in float32."""
    ours = [s.name for s in inputs if s.dtype == "float16"], [s.name for s in outputs if s.dtype == "float16"]
    inner = {name: f"{name}.single" for name in (*ours[0], *ours[1])}
    renamed = [helper.make_node("Cast", [name], [inner[name]], to=TensorProto.FLOAT) for name in ours[0]]
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [inner.get(name, name) for name in node.input]
        copy.output[:] = [inner.get(name, name) for name in node.output]
        renamed.append(copy)
    return renamed + [
        helper.make_node("Cast", [inner[name]], [name], to=TensorProto.FLOAT16) for name in ours[1]
    ]


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], list(spec.shape))


@dataclass
class _Builder:
    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        output = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: Any, dtype: type[np.generic] = np.int64) -> str:
        return self._store(np.asarray(value, dtype=dtype))

    def weight(self, *shape: int, gain: float = 1.0) -> str:
        """A float16 weight and its Cast, as the exporter stores them."""
        fan_in = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
        values = self.rng.standard_normal(shape) * (gain / fan_in**0.5)
        return self.op("Cast", self._store(values.astype(np.float16)), to=TensorProto.FLOAT)

    def linear(self, x: str, n_in: int, n_out: int, *, gain: float = 1.0) -> str:
        return self.op("MatMul", x, self.weight(n_in, n_out, gain=gain))

    def conv(
        self, x: str, n_in: int, n_out: int, *, kernel: int = 3, stride: int = 1, gain: float = 1.0
    ) -> str:
        pad = (kernel - stride + 1) // 2
        weight = self.weight(n_out, n_in, kernel, kernel, gain=gain)
        return self.op("Conv", x, weight, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.constant(shape))

    def unsqueeze(self, x: str, *axes: int) -> str:
        return self.op("Unsqueeze", x, self.constant(axes))

    def layer_norm(self, x: str, width: int, *, name: str | None = None) -> str:
        scale, bias = self.constant(np.ones(width), np.float32), self.constant(np.zeros(width), np.float32)
        return self.op("LayerNormalization", x, scale, bias, axis=-1, name=name)

    def _store(self, values: NDArray[Any]) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(values, name))
        return name


def _text_encoder(b: _Builder) -> None:
    ids = b.op("Mod", "input_ids", b.constant(VOCABULARY))
    tokens = b.op("Gather", b.weight(VOCABULARY, WIDTH, gain=float(VOCABULARY) ** 0.5), ids)  # (B, L, D)
    length = b.op("Shape", "input_ids", start=1, end=2)
    positions = b.op("Slice", b.weight(CONTEXT, WIDTH, gain=2.0), b.constant([0]), length, b.constant([0]))
    x = b.op("Add", tokens, positions)
    total = b.op("CumSum", x, b.constant(1))  # causal: column i sees columns 0 to i
    counts = b.op(
        "Slice", b.constant(np.arange(1, CONTEXT + 1)[:, None], np.float32), b.constant([0]), length
    )
    mean = b.op("Div", total, counts)
    mixed = b.op("Add", x, b.op("Tanh", b.linear(mean, WIDTH, WIDTH, gain=3.0)))
    b.layer_norm(mixed, WIDTH, name="last_hidden_state")
    pooled = b.op("GatherND", mean, b.unsqueeze("eos_index", 1), batch_dims=1)  # (B, D): a bag of words
    key = b.linear(pooled, WIDTH, EMBED)
    b.op("LpNormalization", key, axis=-1, p=2, name="text_embeds")


def _condition(b: _Builder, x: str, channels: int) -> str:
    """Add the timestep and the mean prompt embedding to every pixel."""
    t = b.unsqueeze(b.op("Cast", "timestep", to=TensorProto.FLOAT), 1)  # (B, 1)
    wave = b.op("Sin", b.op("Mul", t, b.constant(0.5 / 1.6 ** np.arange(8)[None], np.float32)))  # (B, 8)
    text = b.op("ReduceMean", "encoder_hidden_states", b.constant([1]), keepdims=0)  # (B, D)
    added = b.op("Add", b.linear(wave, 8, channels), b.linear(text, WIDTH, channels, gain=2.0))
    return b.op("Add", x, b.unsqueeze(added, 2, 3))


def _unet_encoder(b: _Builder) -> None:
    x = b.op("Tanh", _condition(b, b.conv("sample", LATENTS[0], SKIPS[0][0]), SKIPS[0][0]))
    b.op("Identity", x, name="skip_0")
    x = b.op("Tanh", b.conv(x, SKIPS[0][0], SKIPS[1][0], kernel=2, stride=2))
    b.op("Identity", x, name="skip_1")
    x = b.op("Add", x, b.op("Tanh", _condition(b, b.conv(x, CHANNELS, CHANNELS), CHANNELS)))
    b.op("Identity", x, name="h")


def _adapter(b: _Builder) -> None:
    target = b.op("Transpose", b.reshape("h", 0, CHANNELS, TOKENS), perm=[0, 2, 1])  # (B, T, C)
    flat = b.reshape("reference_h", 0, -1, CHANNELS)  # (B, K T, C)
    reference = b.op("Mul", b.op("Cast", flat, to=TensorProto.FLOAT), "reference_scale")
    query = b.linear(b.layer_norm(target, CHANNELS), CHANNELS, CHANNELS)
    normed = b.layer_norm(reference, CHANNELS)
    key = b.op("Transpose", b.linear(normed, CHANNELS, CHANNELS), perm=[0, 2, 1])  # (B, C, K T)
    logits = b.op("Div", b.op("MatMul", query, key), b.constant(CHANNELS**0.5, np.float32))
    positive = b.op("Greater", "reference_weight", b.constant(0.0, np.float32))
    log = b.op("Log", b.op("Max", "reference_weight", b.constant(1e-20, np.float32)))
    bias = b.op("Where", positive, log, b.constant(-1e30, np.float32))  # exp(-1e30) is an exact 0
    ones = b.constant(np.ones((1, 1, TOKENS)), np.float32)
    spread = b.reshape(b.op("Mul", b.unsqueeze(bias, 2), ones), 0, 1, -1)  # (B, 1, K T)
    attention = b.op("Softmax", b.op("Add", logits, spread), axis=-1)
    seen = b.op("MatMul", attention, b.linear(normed, CHANNELS, CHANNELS))
    delta = b.linear(seen, CHANNELS, CHANNELS, gain=2.0)
    delta_h = b.reshape(b.op("Transpose", delta, perm=[0, 2, 1]), 0, CHANNELS, SIDE, SIDE)
    total = b.op("ReduceSum", "reference_weight", b.constant([1]), keepdims=0)
    squares = b.op("ReduceSumSquare", "reference_weight", b.constant([1]), keepdims=0)
    outer = b.op("Div", squares, b.op("Max", total, b.constant(1e-20, np.float32)))
    share = b.unsqueeze(b.op("Mul", outer, "strength"), 1, 2, 3)
    b.op("Add", "h", b.op("Mul", share, delta_h), name="fused_h")


def _unet_decoder(b: _Builder) -> None:
    x = b.op("Concat", "h", "skip_1", axis=1)
    x = b.op("Tanh", _condition(b, b.conv(x, CHANNELS + SKIPS[1][0], 64), 64))
    x = b.op("DepthToSpace", x, blocksize=2)  # (B, 16, 8, 8)
    x = b.op("Concat", x, "skip_0", axis=1)
    b.op("Conv", x, b.weight(LATENTS[0], 32, 3, 3, gain=2.0), pads=[1] * 4, name="out_sample")


def _vae_decoder(b: _Builder) -> None:
    x = b.op("Tanh", b.conv("latent_sample", LATENTS[0], 48, gain=1.5))
    x = b.op("DepthToSpace", x, blocksize=4)  # (B, 3, 32, 32)
    b.op("Tanh", b.conv(x, 3, 3, gain=1.5), name="sample")


def _vae_encoder(b: _Builder) -> None:
    x = b.op("SpaceToDepth", "sample", blocksize=4)  # (B, 48, 8, 8)
    b.op("Conv", x, b.weight(LATENTS[0], 48, 1, 1, gain=1.5), name="latent_sample")


_BUILDERS = {
    "text_encoder": _text_encoder,
    "unet_encoder": _unet_encoder,
    "adapter": _adapter,
    "unet_decoder": _unet_decoder,
    "vae_decoder": _vae_decoder,
    "vae_encoder": _vae_encoder,
}
