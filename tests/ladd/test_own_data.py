"""LADD on the user's own prompts and pictures, with a base that knows no world of drawn scenes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from training.data.render import draw
from training.data.splits import scenes
from training.family.random_family import NANO_WORLD
from training.ladd.__main__ import main
from training.ladd.config import LaddConfig
from training.ladd.config_file import parse_ladd_config
from training.ladd.names import guess_names
from training.ladd.setup import Parts, assemble
from training.models.checkpoint import load_adapter
from training.synthesize import main as synthesize

from .conftest import SMALL_RUN

CPU = torch.device("cpu")
PICTURES = 14


@pytest.fixture(scope="module")
def stranger(family_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A family as anybody's: family.json knows name and resolution alone."""
    path = tmp_path_factory.mktemp("stranger") / "family"
    shutil.copytree(family_path, path)
    (path / "family.json").write_text(json.dumps({"name": "stranger", "resolution": 32}))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captioned pictures, and prompts."""
    folder = tmp_path_factory.mktemp("files")
    lines = []
    for number, scene in enumerate(scenes(NANO_WORLD, "library", PICTURES)):
        Image.fromarray(draw(scene, 40)).save(folder / f"{number}.png")
        lines.append(json.dumps({"file_name": f"{number}.png", "text": scene.caption}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    prompts = dict.fromkeys(scene.caption for scene in scenes(NANO_WORLD, "train", 40))
    (folder / "prompts.txt").write_text("\n".join(list(prompts)[:12]))
    return folder


def run_of(family: Path, work: Path, **data: str) -> LaddConfig:
    document = {"family": str(family), "work_dir": str(work), **SMALL_RUN, "data": data}
    document["real"] = {"scenes": 6, "steps": 1}
    return parse_ladd_config(document, "own.toml")


@pytest.fixture
def config(stranger: Path, files: Path, tmp_path: Path) -> LaddConfig:
    return run_of(stranger, tmp_path / "work", library=str(files), prompts=str(files / "prompts.txt"))


@pytest.fixture
def parts(config: LaddConfig, stranger: Path) -> Parts:
    return assemble(config, stranger, retrieves=True, device=CPU)


def test_prompts_and_pictures_become_pairs_and_references(parts: Parts, config: LaddConfig) -> None:
    training, held_out = parts.training.pairs, parts.held_out.pairs
    assert len(training) == config.pairs.count + config.real.scenes
    assert training.is_real(list(range(len(training)))).sum() == config.real.scenes
    assert len(held_out) == config.pairs.held_out
    assert not set(held_out.prompts) & set(training.prompts[: config.pairs.count])
    assert len(parts.library) == PICTURES
    assert parts.unknown is None


def test_a_picture_is_never_its_own_reference(parts: Parts, config: LaddConfig) -> None:
    real = range(config.pairs.count, len(parts.training.pairs))
    for row in real:
        target = parts.training.pairs.latents[row]
        own = [
            place
            for place, latents in enumerate(parts.library.latents)
            if torch.allclose(latents, target, atol=1e-3)
        ]
        assert own
        assert not set(own) & set(parts.training.neighbours.rows[row].tolist())


def test_what_was_encoded_is_read_and_other_pictures_are_refused(
    config: LaddConfig, stranger: Path, files: Path, tmp_path: Path
) -> None:
    first = assemble(config, stranger, retrieves=True, device=CPU)
    kept = Path(config.work_dir) / "library" / "library.safetensors"
    stamp = kept.stat().st_mtime_ns
    again = assemble(config, stranger, retrieves=True, device=CPU)
    assert kept.stat().st_mtime_ns == stamp
    torch.testing.assert_close(first.library.latents, again.library.latents, atol=0, rtol=0)
    shutil.copytree(files, tmp_path / "other")
    metadata = tmp_path / "other" / "metadata.jsonl"
    metadata.write_text(metadata.read_text() + '\n{"file_name": "0.png", "text": "a new caption"}')
    other = replace(config, data=replace(config.data, library=str(tmp_path / "other")))
    with pytest.raises(ValueError, match=r"encoded pictures of another recipe .*sha256"):
        assemble(other, stranger, retrieves=True, device=CPU)
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"library\.safetensors: cannot be read .* delete it"):
        assemble(config, stranger, retrieves=True, device=CPU)


def test_the_command_trains_an_adapter_on_pairs_that_were_made_before(
    stranger: Path, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "pairs"
    made = ["--family", str(stranger), "--prompts", str(files / "prompts.txt"), "--out", str(pairs)]
    assert synthesize([*made, "--count", "24", "--shard-size", "8", "--steps", "2"]) == 0
    toml = tmp_path / "own.toml"
    toml.write_text(
        f'family = "{stranger}"\nwork_dir = "{tmp_path / "work"}"\n[data]\nlibrary = "{files}"\npairs = "{pairs}"\n'
        "[pairs]\ncount = 12\nheld_out = 4\nbatch = 6\nshard_size = 4\n[retrieval]\nreferences = 2\ncandidates = 4\n"
        "[student]\nattention_heads = 2\nlora_rank = 2\n[losses]\nhead_width = 8\n[optimiser]\nsteps = 2\nbatch = 4\n"
        '[run]\nbf16 = "off"\nsheet_rows = 3\n'
    )
    out = tmp_path / "adapter.safetensors"
    assert main(["--config", str(toml), "--out", str(out)]) == 0
    assert load_adapter(out).metadata.family == "stranger"
    capsys.readouterr()
    described = json.loads((pairs / "pairs.json").read_text())
    (pairs / "pairs.json").write_text(json.dumps({**described, "teacher": "0" * 64}))
    shutil.rmtree(tmp_path / "work")
    assert main(["--config", str(toml), "--out", str(out)]) == 2
    assert "pairs of another family (teacher: 000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"library": "pictures"}, "give library and either"),
        ({"prompts": "prompts.txt"}, "give library and either"),
        ({"library": "pictures", "prompts": "prompts.txt", "pairs": "pairs"}, "give library and either"),
    ],
)
def test_half_a_data_table_is_refused(tmp_path: Path, data: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=rf"own\.toml \[data\]: .*{message}"):
        run_of(tmp_path, tmp_path, **data)


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("prompts", "a cat\na dog\na cat\n", r"2 different prompts, and \[pairs\] held_out = 6"),
        ("names", "cat\nmouse, mice, more\n", "'mouse, mice, more' is no name; write one a line"),
    ],
)
def test_a_bad_file_is_refused_before_anything_is_encoded(
    config: LaddConfig, stranger: Path, tmp_path: Path, key: str, content: str, message: str
) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(content)
    bad = replace(config, data=replace(config.data, **{key: str(file)}))
    with pytest.raises(ValueError, match=rf"mine\.txt: {message}"):
        assemble(bad, stranger, retrieves=True, device=CPU)
    assert not (Path(config.work_dir) / "library").exists()


def test_more_real_pairs_than_pictures_are_refused(config: LaddConfig, stranger: Path) -> None:
    greedy = replace(config, real=replace(config.real, scenes=PICTURES + 1))
    with pytest.raises(ValueError, match=r"\[real\] scenes is 15, and .* holds 14 pictures"):
        assemble(greedy, stranger, retrieves=True, device=CPU)
    assert not (Path(config.work_dir) / "library").exists()


def test_all_pictures_become_real_pairs_where_they_fill_no_shard(config: LaddConfig, stranger: Path) -> None:
    every = replace(config, real=replace(config.real, scenes=PICTURES))
    assert PICTURES % config.pairs.shard_size
    training = assemble(every, stranger, retrieves=True, device=CPU).training.pairs
    assert training.is_real(list(range(len(training)))).sum() == PICTURES


def test_a_base_without_a_world_asks_for_data(config: LaddConfig, stranger: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"stranger knows no world .*\(\[data\] library and prompts\)"):
        assemble(run_of(stranger, tmp_path / "w"), stranger, retrieves=True, device=CPU)


def test_names_are_guessed_from_phrases() -> None:
    captions = [
        "a red bus beside two foxes",
        "a fox on a bus",
        "two buses",
        "cherries and a cherry",
        "a cherry",
        "3 x",
    ]
    assert guess_names([*captions, *captions]) == {"bus": "buses", "cherry": "cherries", "fox": "foxes"}


@given(st.lists(st.text(max_size=40), max_size=8))
def test_guessed_names_are_words_of_the_captions(captions: list[str]) -> None:
    text = " ".join(captions).lower()
    assert all(name in text and plural in text for name, plural in guess_names(captions).items())
