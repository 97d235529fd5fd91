"""TIFA v1.0 (Hu et al., 2023): are the things, counts, colours, ... of a prompt in its picture? A VQA model says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from ragturbo_runtime.files import hash_file
from training.benchmarks import nearest_choice
from training.benchmarks.answer_log import AnswerLog
from training.benchmarks.model_folders import require_files
from training.benchmarks.nearest_choice import NearestChoice
from training.benchmarks.pictures import PictureSet, open_picture
from training.benchmarks.prompts import Prompt, first_prompts, read_tifa_prompts
from training.benchmarks.scores import BOOTSTRAP, RowScores, grouped, score_document, write_json
from training.benchmarks.sources import Options, picture_rows, rows_protocol
from training.benchmarks.vqa import answer_questions, load_vqa, vqa_protocol
from training.benchmarks.vqa_model import LAYOUT, PUBLIC, Answer, Asked, VqaModel
from training.data.tifa import Question, read_questions
from training.evaluation.scores import Counts, tifa_result
from training.recipe import check_recipe, write_recipe

RESULT_FILE = "tifa.json"
ANSWERS = "answers"


def run_tifa(
    options: Options, *, text_inputs: Path, questions: Path, vqa: Path, sentence_encoder: Path | None
) -> dict[str, Any]:
    """Draw, ask and score; writes ``tifa.json`` and, per row, TIFA's own evaluation result.

    Args:
        options: What all benchmarks share.
        text_inputs: TIFA's text inputs.
        questions: TIFA's question-answer pairs.
        vqa: Folder of the VQA model.
        sentence_encoder: Folder of the sentence encoder for TIFA's own protocol; None: the likeliest choice.

    Returns:
        The document.

    Raises:
        FileNotFoundError: A model or pictures are missing.
        ValueError: A file cannot be used, or what was kept is of another model, bundle, seed or prompt.
        RagTurboError: The bundle cannot be used.
    """
    prompts = first_prompts(read_tifa_prompts(text_inputs), options.count)
    asked = questions_of(prompts, read_questions(questions))
    protocol = vqa_protocol_of(vqa, sentence_encoder)
    keep_answers_of(options.out / ANSWERS, protocol)
    model = load_vqa(vqa, device=options.device, batch=options.batch)
    nearest = None if sentence_encoder is None else NearestChoice(sentence_encoder, device=options.device)
    rows = picture_rows(options, prompts)
    scores, unanswerable = {}, {}
    for row in rows:
        log = AnswerLog(options.out / ANSWERS / f"{row.name}.jsonl")
        answers = _answer_row(row, asked, model, nearest, log)
        write_json(options.out / f"tifa_{row.name}.json", tifa_document(asked, answers))
        scores[row.name] = score_answers(prompts, asked, answers)
        unanswerable[row.name] = sum(not one.choice for some in answers for one in some)
    document = {
        "benchmark": "TIFA v1.0",
        "protocol": {
            "prompts": len(prompts), "questions": sum(map(len, asked)), "text_inputs_sha256": hash_file(text_inputs),
            "questions_sha256": hash_file(questions), "vqa": protocol, "unanswerable": unanswerable,
            **rows_protocol(rows), "intervals": BOOTSTRAP,
        },
        **score_document("tifa", scores),
    }  # fmt: skip
    write_json(options.out / RESULT_FILE, document)
    return document


def vqa_protocol_of(vqa: Path, sentence_encoder: Path | None) -> dict[str, str]:
    """How answers are made; checks first that the models are there.

    Raises:
        FileNotFoundError: A file is missing.
    """
    require_files(vqa, LAYOUT, option="--vqa", public=PUBLIC)
    if sentence_encoder is not None:
        layout, public = nearest_choice.LAYOUT, nearest_choice.PUBLIC
        require_files(sentence_encoder, layout, option="--sentence-encoder", public=public)
    return vqa_protocol(vqa, sentence_encoder)


def keep_answers_of(folder: Path, protocol: dict[str, str]) -> None:
    """Refuse a folder of answers of another model or protocol.

    Raises:
        ValueError: It holds such.
    """
    recipe = folder / "recipe.json"
    if recipe.exists():
        check_recipe(recipe, protocol, what="answers", way_out="choose another --out, or delete that folder")
    else:
        write_recipe(recipe, protocol)


def questions_of(prompts: Sequence[Prompt], questions: Sequence[Question]) -> list[list[Question]]:
    """The questions of each prompt, in the file's order.

    Raises:
        ValueError: A prompt has no question, a question no choices, or one is about another caption.
    """
    by_id: dict[str, list[Question]] = {}
    for one in questions:
        by_id.setdefault(one.id, []).append(one)
    asked = [by_id.get(prompt.id, []) for prompt in prompts]
    if without := [prompt.id for prompt, some in zip(prompts, asked, strict=True) if not some]:
        raise ValueError(
            f"{len(without)} of {len(prompts)} prompts have no question ({', '.join(without[:3])}, ...): give the "
            "question file that belongs to these text inputs, tifa_v1.0_question_answers.json for TIFA v1.0's"
        )
    for prompt, some in zip(prompts, asked, strict=True):
        for one in some:
            if one.caption.strip() != prompt.text.strip():
                raise ValueError(
                    f"{prompt.id}: asked about {one.caption!r}, but its prompt is {prompt.text!r}"
                )
            if not one.choices:
                raise ValueError(f"{prompt.id}: question {one.question!r} has no choices")
    return asked


def score_answers(
    prompts: Sequence[Prompt], asked: Sequence[Sequence[Question]], answers: Sequence[Sequence[Answer]]
) -> RowScores:
    """Score a row: the mean over prompts of each one's share of right answers; element types over questions.

    Args:
        prompts: N of them.
        asked: Per prompt, its questions.
        answers: Per prompt, the answers.
    """
    right = [
        [said.choice == one.answer for one, said in zip(*pair, strict=True)]
        for pair in zip(asked, answers, strict=True)
    ]
    shares = np.array([mean(some) for some in right], dtype=np.float64)
    kinds = sorted({one.element_type for some in asked for one in some})
    by_type = {kind: _of_type(kind, asked, right) for kind in kinds}
    overall = Counts(shares, np.ones_like(shares))
    return RowScores(overall, {"by_element_type": by_type, **grouped(prompts, shares)})


def tifa_document(asked: Sequence[Sequence[Question]], answers: Sequence[Sequence[Answer]]) -> dict[str, Any]:
    """TIFA's own evaluation result, the model's own words included."""
    questions = [one for some in asked for one in some]
    said = [one for some in answers for one in some]
    result = tifa_result(questions, [one.choice for one in said])
    for question, answer in zip(questions, said, strict=True):
        result["question_details"][question.id][question.question]["free_form_vqa"] = answer.free_form
    return result


def _of_type(kind: str, asked: Sequence[Sequence[Question]], right: Sequence[Sequence[bool]]) -> Counts:
    hits = [
        [hit for one, hit in zip(*pair, strict=True) if one.element_type == kind]
        for pair in zip(asked, right, strict=True)
    ]
    return Counts(
        np.array([sum(some) for some in hits], dtype=np.float64),
        np.array([len(some) for some in hits], dtype=np.float64),
    )


def _answer_row(
    row: PictureSet,
    asked: Sequence[Sequence[Question]],
    model: VqaModel,
    nearest: NearestChoice | None,
    log: AnswerLog,
) -> list[list[Answer]]:
    from tqdm import tqdm

    answers = []
    for some in tqdm(asked, desc=f"answers, {row.name}", unit="picture"):
        path = row.files[some[0].id]
        plain = [Asked(one.question, one.choices) for one in some]
        picture_sha256 = hash_file(path)
        found = log.find(picture_sha256, plain)
        if found is None:
            found = answer_questions(model, open_picture(path), plain, nearest)
            log.add(picture_sha256, plain, found)
        answers.append(found)
    return answers
