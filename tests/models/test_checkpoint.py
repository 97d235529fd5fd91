"""adapter.safetensors: what goes in comes out, and what is wrong with a file is said, by our own error."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from training.models.adapter import HSpaceAdapter
from training.models.checkpoint import AdapterMetadata, CheckpointError, load_adapter, save_adapter
from training.models.lora import add_lora, lora_parameters, lora_state

HASHES = {"unet": "a" * 64, "text_encoder": "b" * 64, "vae": "c" * 64}


def _metadata(**changed):
    values = {
        "family": "nano",
        "base_hashes": HASHES,
        "rank": 4,
        "alpha": 8.0,
        "channels": 64,
        "num_attention_heads": 4,
        "tokens": 64,
        "references": 3,
        "similarity_low": 0.25,
        "reference_timestep": 100,
        "trained_timesteps": (999, 749),
        "step": 12,
    }
    return AdapterMetadata(**(values | changed))


@pytest.fixture
def trained(nano_unet):
    torch.manual_seed(5)
    adapter = HSpaceAdapter(64, num_attention_heads=4)
    add_lora(nano_unet, rank=4, alpha=8)
    with torch.no_grad():
        for parameter in [*adapter.parameters(), *lora_parameters(nano_unet)]:
            parameter.normal_()
    return adapter, lora_state(nano_unet)


@pytest.fixture
def saved(tmp_path, trained):
    return save_adapter(tmp_path / "adapter.safetensors", *trained, _metadata())


def test_round_trip_and_no_leftovers(saved, trained):
    adapter, lora = trained
    checkpoint = load_adapter(saved)
    assert checkpoint.metadata == _metadata()
    built = checkpoint.build_adapter()
    assert all(torch.equal(built.state_dict()[name], value) for name, value in adapter.state_dict().items())
    assert not any(parameter.requires_grad for parameter in built.parameters())
    assert checkpoint.lora_state.keys() == lora.keys()
    assert all(torch.equal(checkpoint.lora_state[name], value) for name, value in lora.items())
    assert [path.name for path in saved.parent.iterdir()] == ["adapter.safetensors"]


def test_the_same_content_gives_the_same_bytes(saved, trained, tmp_path):
    again = save_adapter(tmp_path / "again.safetensors", *trained, _metadata())
    assert again.read_bytes() == saved.read_bytes()


def test_a_wrong_base_is_refused_by_both_hashes(saved):
    checkpoint = load_adapter(saved)
    checkpoint.check_base(HASHES | {"adapter": "whatever"})
    with pytest.raises(CheckpointError, match=rf"vae has sha256 {'d' * 64}.*expects {'c' * 64}"):
        checkpoint.check_base(HASHES | {"vae": "d" * 64})
    with pytest.raises(CheckpointError, match="unet has sha256 None"):
        checkpoint.check_base({"text_encoder": "b" * 64, "vae": "c" * 64})


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_adapter(saved)


def test_a_flipped_bit_is_found_wherever_it_is(saved):
    content = saved.read_bytes()
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(len(content), (40,), generator=generator).tolist()
    for place in [0, 9, content.index(b"similarity_low") + 18, *places, len(content) - 1]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 7)
        saved.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=str(saved)):
            load_adapter(saved)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_adapter(tmp_path / "nothing.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, foreign)
    with pytest.raises(CheckpointError, match="not an adapter of ragturbo"):
        load_adapter(foreign)


def test_another_format_version_is_refused(saved, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("training.models.checkpoint.FORMAT", 2)
    newer = save_adapter(tmp_path / "newer.safetensors", *trained, _metadata())
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format 2; this version reads format 1"):
        load_adapter(newer)


def test_a_folder_that_cannot_be_written_is_our_error(tmp_path, trained):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_adapter(tmp_path / "file" / "adapter.safetensors", *trained, _metadata())


def test_the_lora_only_control_has_no_adapter(tmp_path, trained):
    path = save_adapter(tmp_path / "lora_only.safetensors", None, trained[1], _metadata(retrieval=False))
    checkpoint = load_adapter(path)
    assert checkpoint.metadata.retrieval is False
    with pytest.raises(CheckpointError, match="LoRA-only control"):
        checkpoint.build_adapter()


def test_weights_that_do_not_fit_their_metadata_are_refused(tmp_path, trained):
    path = save_adapter(tmp_path / "adapter.safetensors", *trained, _metadata(channels=32))
    with pytest.raises(CheckpointError, match="do not fit its metadata"):
        load_adapter(path).build_adapter()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"reference_caption": "blip"}, "reference_caption is 'blip'"),
        ({"feature_codec": "int4"}, "feature_codec is 'int4'"),
        ({"similarity_low": 1.0}, "similarity_low"),
    ],
)
def test_metadata_outside_the_allowed_values_is_refused(changed, named):
    with pytest.raises(ValueError, match=named):
        _metadata(**changed)


def test_metadata_is_plain_json(saved):
    header = saved.read_bytes()
    length = int.from_bytes(header[:8], "little")
    described = json.loads(json.loads(header[8 : 8 + length])["__metadata__"]["ragturbo"])
    assert described["base_hashes"] == HASHES
    assert described["token_layout"] == "row-major"
