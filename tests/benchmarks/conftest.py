"""Folders of random weights in the layouts of the public models, and prompt files in the public formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    BlipProcessor,
    ViltConfig,
    ViltForQuestionAnswering,
    ViltImageProcessor,
    ViltProcessor,
)

from training.family.random_family import nano_config
from training.family.shapes import clip_config
from training.family.text_tower import new_text_tower, save_text_tower

WORDS = "a the is there are how many what color cat dog surfer swimmer yes no red blue two three 1 2 3 4 ? ,".split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *WORDS]
SIDE = 32
TEXTS = [
    {"id": "coco_1", "caption": "a red cat", "coco_val_id": "38"},
    {"id": "drawbench_2", "caption": "three dogs"},
    {"id": "drawbench_3", "caption": "a surfer"},
]
ASKED = {
    "coco_1": [
        ("is there a cat?", ("yes", "no"), "yes", "animal/human"),
        ("what color is the cat?", ("red", "blue", "the red two"), "red", "color"),
    ],
    "drawbench_2": [("how many dog are there?", ("1", "2", "3", "4"), "3", "counting")],
    "drawbench_3": [("what is there?", ("surfer", "swimmer", "cat"), "surfer", "animal/human")],
}
PARTI = (
    "Prompt\tCategory\tChallenge\tNote\n"
    'a sign that says "yes\tArtifacts\tBasic\tone bare quotation mark\n'
    "two cats\tAnimals\tQuantity\t\n"
    "a red dog\tAnimals\tBasic\t\n"
)
COCO = "38----A red cat.\n39----Two dogs, a cat----and a surfer.\n40----A surfer.\n"


def tokenizer(folder: Path) -> BertTokenizerFast:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    return BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=40)


@pytest.fixture(scope="session")
def blip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BLIP, strong enough for answers to differ. Never write into it."""
    folder = tmp_path_factory.mktemp("models") / "blip"
    words = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sees = words | {"image_size": SIDE, "patch_size": 16, "initializer_range": 0.5}
    tells = words | {
        "encoder_hidden_size": 16, "vocab_size": len(VOCABULARY), "bos_token_id": VOCABULARY.index("[DEC]"),
        "sep_token_id": VOCABULARY.index("[SEP]"), "pad_token_id": 0, "initializer_range": 0.5,
        "max_position_embeddings": 64,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BlipConfig(vision_config=sees, text_config=tells, initializer_range=0.5)
        BlipForQuestionAnswering(config).save_pretrained(folder)
    pictures = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    BlipProcessor(pictures, tokenizer(folder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def vilt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ViLT that knows a handful of answers."""
    folder = tmp_path_factory.mktemp("models") / "vilt"
    labels = dict(enumerate(["yes", "no", "Red", "blue", "1", "2", "3", "4", "surfer"]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = ViltConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE,
            patch_size=16, vocab_size=len(VOCABULARY), max_image_length=-1, initializer_range=0.5, id2label=labels,
            label2id={label: index for index, label in labels.items()},
        )  # fmt: skip
        ViltForQuestionAnswering(config).save_pretrained(folder)
    pictures = ViltImageProcessor(size={"shortest_edge": SIDE}, size_divisor=16)
    ViltProcessor(pictures, tokenizer(folder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sentence_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random sentence encoder."""
    folder = tmp_path_factory.mktemp("models") / "sentences"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(VOCABULARY), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, initializer_range=0.5,
        )  # fmt: skip
        BertModel(config).save_pretrained(folder)
    tokenizer(folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP in open_clip's local layout."""
    folder = tmp_path_factory.mktemp("models") / "clip"
    config = nano_config()
    shape = clip_config(config.text, config.resolution)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_text_tower(folder, new_text_tower(shape), shape)
    return folder


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of torch-fidelity's Inception-v3: its constructor wants a file, so it is shown none to read."""
    path = tmp_path_factory.mktemp("models") / "inception.pth"
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        patch.setattr(torch, "load", lambda *_, **__: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        torch.save(inception_of(path).state_dict(), path)
    return path


def inception_of(weights: Path) -> FeatureExtractorInceptionV3:
    """torch-fidelity's own network: (N, 3, 299, 299) uint8 to a tuple of (N, 2048) features."""
    return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(weights))


@pytest.fixture
def tifa_files(tmp_path: Path) -> tuple[Path, Path]:
    """Text inputs and questions in TIFA's formats."""
    rows = [
        {
            **text,
            "question": question,
            "choices": list(choices),
            "answer": answer,
            "element_type": kind,
            "element": "x",
        }
        for text in TEXTS
        for question, choices, answer, kind in ASKED[text["id"]]
    ]
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS))
    (tmp_path / "questions.json").write_text(json.dumps(rows))
    return tmp_path / "texts.json", tmp_path / "questions.json"


def noise_picture(seed: int, side: int = SIDE) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


@pytest.fixture
def given_pictures(tmp_path: Path) -> Path:
    """Pictures of `TEXTS` that some other model drew."""
    folder = tmp_path / "given"
    folder.mkdir()
    for seed, text in enumerate(TEXTS):
        noise_picture(seed).save(folder / f"{text['id']}.png")
    return folder
