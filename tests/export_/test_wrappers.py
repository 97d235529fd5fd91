"""The modules that are traced compute what the family's own classes compute."""

from __future__ import annotations

import dataclasses

import onnx
import onnxruntime
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from export.attention import OneOperator
from export.graphs import GraphSpec
from export.parity import compare, require
from export.text_wrapper import TextEncoderGraph
from export.trace import to_proto, trace
from export.wrappers import AdapterGraph, UNetDecoderGraph, UNetEncoderGraph, VaeDecoderGraph, VaeEncoderGraph
from ragturbo_runtime.manifest import TensorSpec


@pytest.mark.parametrize("length", [2, 5, 12, 77])
@torch.inference_mode()
def test_the_text_graph_is_the_tower_at_every_length(models, length):
    tower = models.family.text
    ids, eos = tower.tokenize(["a cat left of two pizzas on a blue background", "", "a dog"])
    ids, eos = ids[:, :length], eos.clamp(max=length - 1)
    for ours, theirs in zip(TextEncoderGraph(tower)(ids, eos), tower(ids, eos), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_padding_has_no_say_in_a_key(models):
    graph, tower = TextEncoderGraph(models.family.text), models.family.text
    ids, eos = tower.tokenize(["two cats", "a red apple on a table"])
    length = int(eos.max()) + 1
    torch.testing.assert_close(graph(ids[:, :length], eos)[1], graph(ids, eos)[1], rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_encoder_and_decoder_graphs_are_the_unet(models):
    unet = models.family.unet
    generator = torch.Generator().manual_seed(0)
    sample, timestep = torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([999, 0])
    text = torch.randn(2, 77, 16, generator=generator)
    h, *skips = UNetEncoderGraph(unet)(sample, timestep, text)
    assert torch.equal(UNetDecoderGraph(unet)(h, *skips, timestep, text), unet(sample, timestep, text).sample)


@torch.inference_mode()
def test_the_adapter_graph_dequantises(models):
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(2, 64, 4, 4, generator=generator)
    stored = torch.randint(-127, 128, (2, 3, 16, 64), generator=generator, dtype=torch.int8)
    scale = torch.rand(64, generator=generator) + 0.1
    weight = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    fused = AdapterGraph(models.adapter)(h, stored, scale, weight, torch.tensor([0.5, 1.0]))
    delta = models.adapter(h, stored.float() * scale, weight)
    lambda_ = (1.0 + 0.25) / 1.5
    torch.testing.assert_close(fused[0], h[0] + 0.5 * lambda_ * delta[0])
    assert torch.equal(fused[1], h[1])


@torch.inference_mode()
def test_the_vae_graphs_scale_the_latents(models):
    vae = models.family.vae
    vae_scale = vae.config["scaling_factor"]
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = VaeEncoderGraph(vae)(pixels)
    assert torch.equal(latents, vae.encode(pixels).latent_dist.mode() * vae_scale)
    assert torch.equal(VaeDecoderGraph(vae)(latents), vae.decode(latents / vae_scale).sample)


class _Operators(nn.Module):
    """The two operators that are translated by ourselves, in all forms that occur."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        empty = torch.empty(x.shape[0], 4, 4)
        plain = torch.baddbmm(empty, x, y, beta=0, alpha=0.5)
        masked = torch.baddbmm(plain, x, y, beta=1, alpha=0.5)
        scaled = torch.baddbmm(masked, x, y, beta=0.25, alpha=2)
        return nn.functional.gelu(scaled)


@pytest.mark.slow
def test_own_translations_are_exact_and_fuse(tmp_path):
    def example(sizes, seed):
        generator = torch.Generator().manual_seed(seed)
        shapes = (sizes["batch"], 4, 6), (sizes["batch"], 6, 4)
        return tuple(torch.randn(shape, generator=generator) for shape in shapes)

    tensors = (TensorSpec("x", "float32", ("batch", 4, 6)), TensorSpec("y", "float32", ("batch", 6, 4)))
    module = _Operators()
    spec = GraphSpec(
        "operators", module, module, tensors, (TensorSpec("z", "float32", ("batch", 4, 4)),), 1e-6, example
    )
    model = to_proto(trace(spec), spec)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    x, y = example({"batch": 3}, 0)
    ours = torch.from_numpy(session.run(None, {"x": x.numpy(), "y": y.numpy()})[0])
    torch.testing.assert_close(ours, module(x, y), rtol=1e-5, atol=1e-6)
    operators = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert "Gelu" in operators
    assert not {"Erf", "Expand", "ConstantOfShape"} & operators


@torch.inference_mode()
def test_attention_as_one_operator_is_diffusers_own(models):
    """Self- and cross-attention of tokens, and the autoencoder's of a picture with its norm and residual."""
    generator = torch.Generator().manual_seed(0)
    block = models.family.unet.mid_block.attentions[0].transformer_blocks[0]
    tokens, text = torch.randn(2, 9, 64, generator=generator), torch.randn(2, 77, 16, generator=generator)
    picture = torch.randn(2, 16, 4, 4, generator=generator)
    for attention, *inputs in (
        (block.attn1, tokens),
        (block.attn2, tokens, text),
        (models.family.vae.decoder.mid_block.attentions[0], picture),
    ):
        expected = AttnProcessor()(attention, *inputs)
        torch.testing.assert_close(OneOperator()(attention, *inputs), expected, rtol=1e-5, atol=1e-6)


class _Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(2, 6, eps=1e-3)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x):
        return self.norm(x)


@pytest.mark.slow
@pytest.mark.parametrize("cells", [(5,), (3, 4)])
def test_group_norm_is_reshaped_by_constants(cells):
    """Without ``Shape``: with it ONNX Runtime knows no size, and overwrites nothing."""

    def example(sizes, seed):
        return (torch.randn(sizes["batch"], 6, *cells, generator=torch.Generator().manual_seed(seed)) + 3,)

    tensors = (TensorSpec("x", "float32", ("batch", 6, *cells)),)
    module = _Normed().eval()
    spec = GraphSpec(
        "norm", module, module, tensors, (dataclasses.replace(tensors[0], name="y"),), 1e-5, example
    )
    model = to_proto(trace(spec), spec)
    assert "Shape" not in {node.op_type for node in model.graph.node}
    require(spec, compare(model, spec))
