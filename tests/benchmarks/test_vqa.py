"""VQA models of random weights: what they are asked, and how a choice is made."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BlipForQuestionAnswering, BlipProcessor

from tests.benchmarks.conftest import noise_picture
from training.benchmarks.blip import Blip
from training.benchmarks.nearest_choice import NearestChoice
from training.benchmarks.vilt import Vilt
from training.benchmarks.vqa import answer_questions, load_vqa, vqa_protocol
from training.benchmarks.vqa_model import Answer, Asked

LONG = Asked("what color is the cat, the dog, the surfer?", ("red", "blue", "the red two", "no"))
SHORT = Asked("is there a cat?", ("yes", "no"))


@pytest.fixture(scope="module")
def blip(blip_folder: Path) -> Blip:
    model = load_vqa(blip_folder, device="cpu", batch=3)
    assert isinstance(model, Blip)
    return model


@pytest.fixture(scope="module")
def vilt(vilt_folder: Path) -> Vilt:
    model = load_vqa(vilt_folder, device="cpu", batch=2)
    assert isinstance(model, Vilt)
    return model


def test_a_choice_scores_the_product_of_its_tokens_probabilities(blip: Blip, blip_folder: Path) -> None:
    """Token by token through transformers' own forward, without padding or batches."""
    model = BlipForQuestionAnswering.from_pretrained(blip_folder).eval()
    processor = BlipProcessor.from_pretrained(blip_folder)
    scores = blip.score_choices(noise_picture(0), [LONG, SHORT])
    assert [len(some) for some in scores] == [4, 2]
    for asked, some in zip([LONG, SHORT], scores, strict=True):
        inputs = processor(images=noise_picture(0), text=asked.question, return_tensors="pt")
        for choice, score in zip(asked.choices, some, strict=True):
            words = processor.tokenizer(choice, add_special_tokens=False).input_ids
            labels = torch.tensor(
                [[model.decoder_start_token_id, *words, model.config.text_config.sep_token_id]]
            )
            with torch.no_grad():
                loss = model(**inputs, labels=labels).loss
            assert score == pytest.approx(-float(loss) * (len(words) + 1), abs=1e-4)


def test_the_likeliest_choice_is_the_answer(blip: Blip) -> None:
    picture = noise_picture(1)
    scores = blip.score_choices(picture, [LONG])[0]
    expected = LONG.choices[scores.index(max(scores))]
    assert answer_questions(blip, picture, [LONG], None) == [Answer(expected, expected)]


def test_own_words_are_transformers_own_generation(blip: Blip, blip_folder: Path) -> None:
    """Questions of different lengths together say what each alone would."""
    model = BlipForQuestionAnswering.from_pretrained(blip_folder).eval()
    processor = BlipProcessor.from_pretrained(blip_folder)
    for seed in range(3):
        alone = []
        for asked in (LONG, SHORT):
            inputs = processor(images=noise_picture(seed), text=asked.question, return_tensors="pt")
            said = model.generate(**inputs, max_length=20)
            alone.append(processor.decode(said[0], skip_special_tokens=True).strip())
        assert blip.answer_freely(noise_picture(seed), [LONG.question, SHORT.question]) == alone


def test_vilt_scores_choices_by_the_logits_of_their_labels(vilt: Vilt) -> None:
    picture = noise_picture(0)
    scores = vilt.score_choices(picture, [LONG, SHORT, SHORT])
    assert scores[0][2] == -math.inf, "no label is called so"
    assert scores[0][0] > -math.inf, "letter case does not count: the label is Red"
    assert scores[1] == pytest.approx(scores[2], abs=1e-5)
    assert vilt.score_choices(picture, [LONG, SHORT, SHORT]) == scores
    unknown = Asked("what is there?", ("a dog", "swimmer"))
    assert answer_questions(vilt, picture, [unknown], None) == [Answer("", "")]
    assert vilt.answer_freely(picture, [SHORT.question])[0] in vilt.labels.values()


def test_tifas_own_way_keeps_the_models_words_and_picks_the_nearest_choice(
    blip: Blip, sentence_folder: Path
) -> None:
    nearest = NearestChoice(sentence_folder, device="cpu")
    assert nearest.pick("blue", ("red", "blue")) == "blue"
    (said,) = answer_questions(blip, noise_picture(0), [LONG], nearest)
    assert said.free_form == blip.answer_freely(noise_picture(0), [LONG.question])[0]
    embedded = nearest.embed(["two dog", *LONG.choices])
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(5))
    assert nearest.pick("two dog", LONG.choices) == LONG.choices[int((embedded[1:] @ embedded[0]).argmax())]
    # Padding beside a longer text must not count.
    torch.testing.assert_close(nearest.embed(["red"])[0], nearest.embed(["red", "the red two cat"])[0])


def test_the_protocol_identifies_models_by_content(
    blip_folder: Path, vilt_folder: Path, sentence_folder: Path
) -> None:
    blip, vilt = vqa_protocol(blip_folder, None), vqa_protocol(vilt_folder, None)
    assert (blip["model"], vilt["model"]) == ("blip", "vilt")
    assert blip["sha256"] != vilt["sha256"]
    assert "TIFA's protocol" in vqa_protocol(blip_folder, sentence_folder)["choice"]


def test_a_missing_or_other_model_is_named(tmp_path: Path, sentence_folder: Path, blip_folder: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no such folder; wanted is a local folder with config\.json.*blip-vqa"
    ):
        load_vqa(tmp_path / "none", device="cpu", batch=1)
    with pytest.raises(FileNotFoundError, match=r"it lacks preprocessor_config\.json"):
        load_vqa(sentence_folder, device="cpu", batch=1)
    with pytest.raises(FileNotFoundError, match=r"--sentence-encoder.*all-mpnet-base-v2"):
        NearestChoice(tmp_path, device="cpu")
    other = tmp_path / "other"
    other.mkdir()
    for path in blip_folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_vqa(other, device="cpu", batch=1)
    weights = load_file(blip_folder / "model.safetensors")
    save_file(
        {key: value for key, value in weights.items() if "text_encoder" not in key},
        other / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(
        ValueError, match=r"weights are not in it \(text_encoder.*no BlipForQuestionAnswering"
    ):
        load_vqa(other, device="cpu", batch=1)
    (other / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="model_type 'bert'; allowed are blip and vilt"):
        load_vqa(other, device="cpu", batch=1)
