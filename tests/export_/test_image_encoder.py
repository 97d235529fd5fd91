"""Search by picture: the image tower beside the text tower, through its own graph."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from export.image_wrapper import ImageEncoderGraph, Normalise
from export.onnx import main
from ragturbo_runtime.bundle import Bundle
from ragturbo_sdk import Generator, InvalidInputError, RetrievalError
from ragturbo_sdk.cli.main import main as ragturbo
from tests.library.folders import imagefolder, picture
from training.family.folder import load_family
from training.family.text_tower import CONFIG_FILE, WEIGHTS_FILE


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seeing")
    pictures = imagefolder(root / "pictures", range(8))
    words = ["--ckpt", str(checkpoint), "--out", str(root / "bundle"), "--library", str(pictures)]
    assert main([*words, "--image-encoder"]) == 0
    return root / "bundle"


def test_the_graph_stands_in_the_manifest_with_its_parity(bundle: Path) -> None:
    graph = Bundle.load(bundle).manifest.graphs["image_encoder"]
    (pixels,), (embeds,) = graph.inputs, graph.outputs
    assert (pixels.name, embeds.name) == ("pixels", "image_embeds")
    assert pixels.shape == ("batch", 3, 32, 32)
    assert graph.parity.psnr_db is not None
    assert graph.parity.psnr_db > 80


def test_a_library_is_searched_by_picture(bundle: Path, checkpoint: Path, tmp_path: Path) -> None:
    """The order is that of open_clip's own cosines, whatever the picture is given as."""
    family = load_family(checkpoint.parent)
    shown = picture(3, (32, 32))
    pixels = torch.from_numpy(np.asarray(shown, np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    shown.save(tmp_path / "shown.png")
    with Generator(bundle, device="cpu", threads=1) as generator:
        found = generator.library.search(shown, count=8)
        for given in (tmp_path / "shown.png", (tmp_path / "shown.png").read_bytes()):
            assert generator.library.search(given, count=8) == found
        with pytest.raises(InvalidInputError, match="image is int, expected a PIL image"):
            generator.library.search(7)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="not a picture"):
            generator.library.search(b"no picture")
    with torch.no_grad():
        keys = family.text.encode([reference.caption for reference in found])[1]
        cosines = (family.text.encode_image(pixels) @ keys.T)[0].numpy()
    np.testing.assert_allclose([reference.similarity for reference in found], cosines, atol=2e-3)


def test_the_command_takes_a_picture(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(3).save(tmp_path / "shown.png")
    words = ["library", "search", "--bundle", str(bundle), "--json"]
    assert ragturbo([*words, "--image", str(tmp_path / "shown.png"), "-n", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out)["references"]) == 2
    for wrong in ([], ["a cat", "--image", "x.png"]):
        assert ragturbo([*words, *wrong]) == 2
        assert "expected a text or --image FILE" in capsys.readouterr().err


def test_a_bundle_without_image_tower_says_so(nano_bundle: Path) -> None:
    with Generator(nano_bundle, device="cpu", threads=1) as generator:
        with pytest.raises(RetrievalError, match=r"has no image tower.*--image-encoder"):
            generator.library.search(Image.new("RGB", (8, 8)))


def test_a_family_without_image_tower_cannot_export_one(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    family = Path(shutil.copytree(checkpoint.parent, tmp_path / "family"))
    file = family / "text_encoder" / WEIGHTS_FILE
    save_file({name: value for name, value in load_file(file).items() if "visual" not in name}, file)
    words = ["--mode", "slerp", "--base", str(family), "--out", str(tmp_path / "out"), "--library", "none"]
    assert main([*words, "--image-encoder"]) == 2
    assert "holds no image tower" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pictures_are_normalised_as_open_clip_says(checkpoint: Path, tmp_path: Path) -> None:
    document = json.loads((checkpoint.parent / "text_encoder" / CONFIG_FILE).read_text())
    document["preprocess_cfg"] = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
    (tmp_path / CONFIG_FILE).write_text(json.dumps(document))
    pixels = torch.rand(2, 3, 4, 4) * 2 - 1
    expected = (pixels / 2 + 0.5 - torch.tensor([0.48, 0.46, 0.41])[:, None, None]) / torch.tensor(
        [0.27, 0.26, 0.28]
    )[:, None, None]
    torch.testing.assert_close(Normalise(tmp_path)(pixels), expected)


def test_a_tower_that_pools_otherwise_is_refused(checkpoint: Path) -> None:
    from export.errors import ExportError

    tower = load_family(checkpoint.parent).text
    tower.clip.visual.pool_type = "avg"
    with pytest.raises(ExportError, match="pools otherwise than by its class token"):
        ImageEncoderGraph(tower, torch.nn.Identity())
