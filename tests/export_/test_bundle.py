"""What the command wrote: whole, described, without traces of this machine, and drawing what torch draws."""

from __future__ import annotations

import io
import math

import numpy as np
import onnx
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image
from torch.nn.functional import avg_pool2d

from export.chain import CHAIN_MIN_PSNR_DB
from export.graphs import graph_specs
from export.manifest import h_space_id, key_space_id
from export.storage import smallest_within_tolerance
from export.trace import to_proto, trace
from ragturbo_runtime.bundle import Bundle
from ragturbo_runtime.noise import batch_noise
from ragturbo_runtime.pipeline import Pipeline
from ragturbo_runtime.requests import DrawRequest
from training.data.render import draw
from training.data.splits import scenes
from training.data.world import parse_world
from training.family.folder import load_family
from training.models.checkpoint import load_adapter
from training.models.lora import add_lora, load_lora
from training.models.split_unet import encode

pytestmark = pytest.mark.slow
GRAPHS = ("text_encoder", "unet_encoder", "adapter", "unet_decoder", "vae_decoder", "vae_encoder")
SIGNATURES = {
    "text_encoder": (
        {"input_ids": ("batch", "length"), "eos_index": ("batch",)},
        {"last_hidden_state": ("batch", "length", 16), "text_embeds": ("batch", 16)},
    ),
    "unet_encoder": (
        {"sample": ("batch", 4, 8, 8), "timestep": ("batch",), "encoder_hidden_states": ("batch", 77, 16)},
        {
            "h": ("batch", 64, 4, 4),
            "skip_0": ("batch", 32, 8, 8),
            "skip_1": ("batch", 32, 8, 8),
            "skip_2": ("batch", 32, 4, 4),
            "skip_3": ("batch", 64, 4, 4),
        },
    ),
    "adapter": (
        {
            "h": ("batch", 64, 4, 4),
            "reference_h": ("batch", "references", 4, 64),
            "reference_scale": (64,),
            "reference_weight": ("batch", "references"),
            "strength": ("batch",),
        },
        {"fused_h": ("batch", 64, 4, 4)},
    ),
    "unet_decoder": (
        {
            "h": ("batch", 64, 4, 4),
            "skip_0": ("batch", 32, 8, 8),
            "skip_1": ("batch", 32, 8, 8),
            "skip_2": ("batch", 32, 4, 4),
            "skip_3": ("batch", 64, 4, 4),
            "timestep": ("batch",),
            "encoder_hidden_states": ("batch", 77, 16),
        },
        {"out_sample": ("batch", 4, 8, 8)},
    ),
    "vae_decoder": ({"latent_sample": ("batch", 4, 8, 8)}, {"sample": ("batch", 3, 32, 32)}),
    "vae_encoder": ({"sample": ("batch", 3, 32, 32)}, {"latent_sample": ("batch", 4, 8, 8)}),
}


@pytest.fixture(scope="module")
def bundle(exported) -> Bundle:
    return Bundle.load(exported.path, verify="full", sdk_version="0.2.0")


@pytest.fixture(scope="module")
def pipeline(bundle):
    with Pipeline.load(bundle, device="cpu", threads=1) as loaded:
        yield loaded


def _graph(exported, name) -> onnx.ModelProto:
    return onnx.load(exported.path / name / "model.onnx")


def test_it_prints_one_line_per_graph_and_one_for_the_chain(exported):
    lines = exported.printed.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [*GRAPHS, "chain"]
    assert all("PSNR" in line for line in lines[:-1])
    assert lines[-1].startswith(str(exported.path))


def test_nothing_but_the_bundle_is_left(exported):
    assert [path.name for path in exported.path.parent.iterdir()] == ["bundle"]
    assert not [path for path in exported.path.rglob("*") if path.name.startswith(".")]


def test_the_manifest_records_parity_within_tolerance(bundle):
    for graph in bundle.manifest.graphs.values():
        assert graph.parity.max_abs_diff <= graph.parity.atol
        assert graph.parity.psnr_db is None or graph.parity.psnr_db >= 60
    chain = bundle.manifest.parity
    assert chain.max_abs_diff is not None
    assert chain.psnr_db is None or chain.psnr_db >= CHAIN_MIN_PSNR_DB  # None: equal to the last bit


@pytest.mark.parametrize("name", GRAPHS)
def test_signatures_are_the_public_ones(exported, bundle, name):
    model = _graph(exported, name)
    found = tuple(
        {v.name: tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}
        for values in (model.graph.input, model.graph.output)
    )
    assert found == SIGNATURES[name]
    entry = bundle.manifest.graphs[name]
    assert tuple({t.name: t.shape for t in tensors} for tensors in (entry.inputs, entry.outputs)) == found
    assert [list(part) for part in found] == [list(part) for part in SIGNATURES[name]]  # in this order


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_are_whole_portable_and_say_nothing_of_this_machine(exported, name, checkpoint):
    model = _graph(exported, name)
    onnx.checker.check_model(model, full_check=True)
    contrib = {(node.domain, node.op_type) for node in model.graph.node if node.domain}
    assert contrib <= {("com.microsoft", "MultiHeadAttention")}  # which every build of ONNX Runtime has
    assert ("", 18) in [(item.domain, item.version) for item in model.opset_import]
    produced = {output for node in model.graph.node for output in node.output}
    assert {value.name for value in model.graph.output} <= produced
    described = [model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output]
    assert not any(item.metadata_props or item.doc_string for item in described)
    content = (exported.path / name / "model.onnx").read_bytes()
    for trace_of_machine in (b"site-packages", b".py", str(checkpoint.parent).encode()):
        assert trace_of_machine not in content


def test_no_graph_computes_what_beta_zero_switches_off(exported):
    """diffusers' attention without a mask must not add zeros of the size of its scores."""
    model = _graph(exported, "unet_encoder")
    assert not [node for node in model.graph.node if node.op_type in ("Expand", "ConstantOfShape")]


def test_half_precision_storage_halves_the_bytes_and_computes_in_float32(exported):
    model = _graph(exported, "unet_encoder")
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    large = {tensor.data_type for tensor in model.graph.initializer if sizes[tensor.name] >= 512}
    assert large == {onnx.TensorProto.FLOAT16}
    assert (exported.path / "unet_encoder/model.onnx").stat().st_size < 2.3 * sum(sizes.values())
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert all(node.attribute[0].i == onnx.TensorProto.FLOAT for node in casts)


def test_exporting_again_gives_the_same_bytes(exported, models):
    spec = next(spec for spec in graph_specs(models) if spec.name == "adapter")
    model, _ = smallest_within_tolerance(to_proto(trace(spec), spec), spec)
    written = (exported.path / "adapter" / "model.onnx").read_bytes()
    assert model.SerializeToString(deterministic=True) == written


def test_without_references_it_draws_what_diffusers_draws(pipeline, checkpoint, models):
    """An independent torch chain: the whole U-Net's own forward, PEFT's LoRA unfused, diffusers' scheduler."""
    family, adapter = load_family(checkpoint.parent), load_adapter(checkpoint)
    add_lora(family.unet, rank=adapter.metadata.rank, alpha=adapter.metadata.alpha)
    load_lora(family.unet, adapter.lora_state)
    prompts = ("a cat", "two dogs at the beach", "a bus")
    ours = pipeline.draw(DrawRequest(prompts, (5, 6, 7), references=0))
    scheduler = DDIMScheduler.from_config(family.scheduler)
    scheduler.set_timesteps(1)
    noise = torch.from_numpy(batch_noise((5, 6, 7), models.latent_shape))
    with torch.inference_mode():
        embeds, _ = family.text.encode(list(prompts))
        output = family.unet(noise, scheduler.timesteps[0], embeds).sample
        latents = scheduler.step(output, scheduler.timesteps[0], noise).prev_sample
        decoded = family.vae.decode(latents / family.vae.config.scaling_factor).sample
    np.testing.assert_allclose(ours.latents, latents.numpy(), atol=5e-3)
    pixels = ((decoded.clamp(-1, 1) + 1) * 127.5).round().numpy().transpose(0, 2, 3, 1)
    assert np.abs(ours.images.astype(np.float32) - pixels).max() <= 2


def test_references_change_the_picture_and_a_batch_is_its_singles(pipeline):
    with_references = pipeline.draw(DrawRequest(("a cat", "a fox"), (1, 2), references=3))
    without = pipeline.draw(DrawRequest(("a cat", "a fox"), (1, 2), references=0))
    assert all(len(own) == 3 for own in with_references.references)
    assert not np.array_equal(with_references.latents, without.latents)
    single = pipeline.draw(DrawRequest(("a fox",), (2,), references=3))
    np.testing.assert_allclose(single.latents[0], with_references.latents[1], atol=1e-4)


def test_the_library_holds_the_familys_scenes(pipeline, models):
    world = parse_world(models.family.settings["config"]["world"])
    expected = scenes(world, "library", 24)
    library = pipeline.library
    records = library.records(range(24))
    assert [record.caption for record in records] == [scene.caption for scene in expected]
    assert {record.licence for record in records} == {"Apache-2.0"}
    thumbnail = Image.open(io.BytesIO(library.thumbnail(records[3].id)))
    assert thumbnail.mode == "P", "a palette: half the bytes"
    picture = np.asarray(thumbnail.convert("RGB")).astype(int)
    assert np.abs(picture - draw(expected[3], 32)).mean() < 3


def test_features_and_keys_are_those_of_torch(pipeline, models):
    """h of the clean latents at the reference timestep with the caption, to half a step of int8."""
    family, library = models.family, pipeline.library
    captions = [record.caption for record in library.records(range(4))]
    world = parse_world(models.family.settings["config"]["world"])
    pictures = [draw(scene, 32) for scene in scenes(world, "library", 4)]
    pixels = torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
    with torch.inference_mode():
        embeds, keys = family.text.encode(captions)
        latents = family.vae.encode(pixels).latent_dist.mode() * family.vae.config.scaling_factor
        h, _ = encode(family.unet, latents, 50, embeds)
    tokens = avg_pool2d(h, 2).flatten(2).transpose(1, 2).numpy()
    stored = library.features(range(4)) * library.scale
    # The graph and torch differ by some 1e-5, which moves a value over a rounding border now and then.
    assert (np.abs(stored - tokens) <= 0.501 * library.scale + 1e-4).all()
    _, cosines = library.search(keys.numpy(), 1)
    np.testing.assert_allclose(cosines[:, 0], 1.0, atol=2e-3)


def test_identities_follow_the_encoders_alone(bundle, models):
    manifest = bundle.manifest
    assert (manifest.key_space_id, manifest.h_space_id) == (key_space_id(models), h_space_id(models))
    assert manifest.family.hashes == models.hashes
    assert set(models.hashes) == {"unet", "text_encoder", "vae", "configs", "adapter"}
    retrained = _with_hashes(models, adapter="0" * 64)
    assert h_space_id(retrained) == h_space_id(models)
    for part in ("vae", "unet", "configs"):
        assert h_space_id(_with_hashes(models, **{part: "0" * 64})) != h_space_id(models)
    assert key_space_id(_with_hashes(models, text_encoder="0" * 64)) != key_space_id(models)


def test_the_manifest_describes_the_family(bundle):
    manifest = bundle.manifest
    assert manifest.adapter.reference_timestep == 50
    assert (manifest.adapter.channels, manifest.adapter.tokens, manifest.adapter.default_references) == (
        64,
        4,
        3,
    )
    assert manifest.adapter.reference_pool == 2
    assert manifest.scheduler["prediction_type"] == "v_prediction"
    assert manifest.scheduler["rescale_betas_zero_snr"] is True
    assert manifest.licences == {"weights": "Apache-2.0", "library": "Apache-2.0"}
    assert manifest.library.count == 24
    assert math.isclose(manifest.latents.scaling_factor, 0.18215)


def _with_hashes(models, **changed):
    import dataclasses

    return dataclasses.replace(models, hashes=models.hashes | changed)
