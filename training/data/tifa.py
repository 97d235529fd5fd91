"""The benchmark in TIFA's own files, and the reader of those files and of the real ones.

TIFA (Hu et al., 2023, "TIFA: Accurate and Interpretable Text-to-Image Faithfulness Evaluation with Question
Answering") keeps two JSON lists: text inputs ``{id, caption}`` and question-answer pairs ``{id, caption,
question, choices, answer, element_type, element}``; captions from COCO also have a ``coco_val_id``.

As in TIFA, nearly every yes/no question has the answer yes; here every second scene also asks one whose
answer is no, about something of the same kind that the caption does not say. So a picture of nothing scores
low.

Command: ``python -m training.data.tifa --config training/configs/emoji.toml --out DIR``
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from training.atomic import save_atomically
from training.data.concepts import Category, Concept, concepts
from training.data.scene import BACKGROUNDS, PLACES, Group, Relation, Scene

ELEMENT_TYPES = (
    "animal/human", "food", "object", "activity", "attribute", "counting",
    "color", "material", "spatial", "location", "shape", "other",
)  # fmt: skip
"""TIFA's twelve; the emoji world has no activity, material, shape or other."""
BENCHMARK_SCENES = 1000
"""Captions of the emoji benchmark."""
TEXT_INPUTS, QUESTION_ANSWERS = "text_inputs.json", "question_answers.json"
KINDS: dict[Category, str] = {"animal/human": "animal", "food": "food", "object": "object"}
"""What a "what ... is in the picture?" question calls a category."""
_PERSONS = (
    "baby,princess,prince,police officer,builder,detective,Santa,clown,wizard,fairy,vampire,zombie,ninja"
)
PERSONS = frozenset(f"{_PERSONS},ghost,alien,robot".split(","))
"""The concepts of animal/human that no one calls an animal."""
DIRECTIONS: dict[Relation, str] = {
    "left of": "to the left of",
    "right of": "to the right of",
    "above": "above",
    "below": "below",
}
"""A relation in a question's words."""
_COUNT_WORDS = {1: "one", 2: "two", 3: "three", 4: "four"}
_YES_NO = ("yes", "no")


@dataclass(frozen=True)
class TextInput:
    """One caption of a benchmark."""

    id: str
    caption: str
    coco_val_id: str | None = None
    """COCO's picture id; only TIFA's own captions from COCO have one."""


@dataclass(frozen=True)
class Question:
    """One multiple-choice question about the picture of a caption."""

    id: str
    caption: str
    question: str
    choices: tuple[str, ...]
    answer: str
    element_type: str
    """One of `ELEMENT_TYPES`."""
    element: str
    """The word of the caption that the question is about."""
    coco_val_id: str | None = None


def text_input(scene: Scene, *, family: str = "emoji") -> TextInput:
    """A scene's caption under the id that its questions carry, for example ``emoji_benchmark_12``."""
    return TextInput(f"{family}_{scene.split}_{scene.index}", scene.caption)


def questions(scene: Scene, names: Sequence[str], *, family: str = "emoji") -> list[Question]:
    """Everything that a scene's caption says, as questions; the same ones each time.

    Args:
        scene: What is asked about.
        names: The family's concepts: wrong choices are taken from them, of the same category first.
        family: First part of the ids.

    Returns:
        Four to about fourteen questions; no wording twice.

    Raises:
        ValueError: Fewer than three names that the scene does not show: there are too few wrong choices.
    """
    asker = _Asker(scene, names, family)
    asker.ask_groups()
    asker.ask_ground()
    asker.ask_relation()
    if scene.index % 2 == 0:
        asker.ask_negative()
    return asker.asked


class _Asker:
    """Collects the questions of one scene."""

    def __init__(self, scene: Scene, names: Sequence[str], family: str) -> None:
        self.scene = scene
        self.text = text_input(scene, family=family)
        self.random = Random(self.text.id)
        self.absent = [name for name in names if name not in scene.concepts]
        if len(self.absent) < 3:
            raise ValueError(
                f"{len(self.absent)} concepts are left for the wrong choices of {scene.caption!r}; at least "
                "3 are needed: name more concepts in the family's config"
            )
        self.asked: list[Question] = []

    def add(self, question: str, choices: Iterable[str], answer: str, kind: str, element: str) -> None:
        """Ask; choices other than yes and no are shuffled."""
        listed = list(choices)
        if tuple(listed) != _YES_NO:
            self.random.shuffle(listed)
        text = self.text
        self.asked.append(Question(text.id, text.caption, question, tuple(listed), answer, kind, element))

    def ask_groups(self) -> None:
        """What there is, how many, how big."""
        categories: list[str] = []
        for group in self.scene.groups:
            concept = concepts()[group.concept]
            name = _name(concept, group.count)
            self.add(_is_there(concept, group.count), _YES_NO, "yes", concept.category, name)
            other = "other " if concept.category in categories else ""
            categories.append(concept.category)
            # The same words twice would be one question in TIFA's log: a third of a kind is not asked.
            if categories.count(concept.category) <= 2:
                wording = f"what {other}{_kind(concept, group.count)} in the picture?"
                self.add(wording, self._concept_choices(concept, group.count), name, concept.category, name)
            self._ask_count(group, concept)
            self._ask_size(group, name)

    def _ask_count(self, group: Group, concept: Concept) -> None:
        if group.count == 1:
            return  # "a cat" says no number: TIFA asks for those in the caption
        word = _COUNT_WORDS[group.count]
        numbers = [str(number) for number in _COUNT_WORDS]
        self.add(f"are there {word} {concept.plural}?", _YES_NO, "yes", "counting", word)
        self.add(f"how many {concept.plural} are there?", numbers, str(group.count), "counting", word)

    def _ask_size(self, group: Group, name: str) -> None:
        if group.size == "medium":
            return  # not said in the caption
        be = "is" if group.count == 1 else "are"
        self.add(f"{be} the {name} {group.size}?", _YES_NO, "yes", "attribute", group.size)
        self.add(f"{be} the {name} big or small?", ("big", "small"), group.size, "attribute", group.size)

    def ask_ground(self) -> None:
        """The colour or the place behind."""
        if self.scene.place is not None:
            wording = PLACES[self.scene.place][0]
            self.add(f"is the scene {wording}?", _YES_NO, "yes", "location", self.scene.place)
            self.add(
                "where is the scene?",
                [wording, *self._other_places(3)],
                wording,
                "location",
                self.scene.place,
            )
        else:
            colour = str(self.scene.background)
            choices = [colour, *self._other_colours(3)]
            self.add(f"is the background {colour}?", _YES_NO, "yes", "color", colour)
            self.add("what is the color of the background?", choices, colour, "color", colour)

    def ask_relation(self) -> None:
        """How the first group stands to the second."""
        if self.scene.relation is None:
            return
        first, second = self.scene.groups[:2]
        subject, direction = concepts()[first.concept], DIRECTIONS[self.scene.relation]
        choices, right = self._concept_choices(subject, first.count), _name(subject, first.count)
        be, landmark = "is" if first.count == 1 else "are", _name(concepts()[second.concept], second.count)
        self.add(_relation(first, direction, second), _YES_NO, "yes", "spatial", self.scene.relation)
        self.add(f"what {be} {direction} the {landmark}?", choices, right, "spatial", self.scene.relation)

    def ask_negative(self) -> None:
        """One question whose answer is no."""
        kinds = [self._deny_thing, self._deny_ground]
        if self.scene.relation is not None:
            kinds.append(self._deny_relation)
        if any(group.count > 1 for group in self.scene.groups):
            kinds.append(self._deny_count)
        self.random.choice(kinds)()

    def _deny_thing(self) -> None:
        concept = concepts()[self._others(concepts()[self.random.choice(self.scene.groups).concept])[0]]
        self.add(_is_there(concept, 1), _YES_NO, "no", concept.category, concept.name)

    def _deny_ground(self) -> None:
        if self.scene.place is not None:
            name = self._other_places(1)[0]
            self.add(f"is the scene {name}?", _YES_NO, "no", "location", self.scene.place)
        else:
            colour = str(self.scene.background)
            self.add(f"is the background {self._other_colours(1)[0]}?", _YES_NO, "no", "color", colour)

    def _deny_relation(self) -> None:
        opposite: dict[Relation, Relation] = {
            "left of": "right of", "right of": "left of", "above": "below", "below": "above",
        }  # fmt: skip
        relation = opposite[self.scene.relation]  # type: ignore[index]
        first, second = self.scene.groups[:2]
        self.add(
            _relation(first, DIRECTIONS[relation], second), _YES_NO, "no", "spatial", str(self.scene.relation)
        )

    def _deny_count(self) -> None:
        group = self.random.choice([group for group in self.scene.groups if group.count > 1])
        wrong = self.random.choice([number for number in (2, 3, 4) if number != group.count])
        wording = f"are there {_COUNT_WORDS[wrong]} {concepts()[group.concept].plural}?"
        self.add(wording, _YES_NO, "no", "counting", _COUNT_WORDS[group.count])

    def _concept_choices(self, concept: Concept, count: int) -> list[str]:
        return [
            _name(concept, count),
            *(_name(concepts()[name], count) for name in self._others(concept)[:3]),
        ]

    def _others(self, concept: Concept) -> list[str]:
        """Names that the scene does not show, those of the concept's category first."""
        shuffled = self.random.sample(self.absent, len(self.absent))
        return sorted(shuffled, key=lambda name: concepts()[name].category != concept.category)

    def _other_colours(self, number: int) -> list[str]:
        return self.random.sample(
            [colour for colour in BACKGROUNDS if colour != self.scene.background], number
        )

    def _other_places(self, number: int) -> list[str]:
        return [
            PLACES[p][0] for p in self.random.sample([p for p in PLACES if p != self.scene.place], number)
        ]


def write_benchmark(
    folder: Path, scenes: Sequence[Scene], names: Sequence[str], *, family: str = "emoji"
) -> None:
    """Write text_inputs.json and question_answers.json.

    Args:
        folder: Where; made if missing.
        scenes: One picture each.
        names: The family's concepts.
        family: First part of the ids.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = [text_input(scene, family=family) for scene in scenes]
    asked = [question for scene in scenes for question in questions(scene, names, family=family)]
    _write(folder / TEXT_INPUTS, [question_row(text) for text in texts])
    _write(folder / QUESTION_ANSWERS, [question_row(question) for question in asked])


def read_text_inputs(path: Path) -> list[TextInput]:
    """Read text inputs, ours or TIFA's own.

    Raises:
        ValueError: Not a list of objects with ``id`` and ``caption``; names the first bad row.
        OSError: The file cannot be read.
    """
    rows = _read_rows(path, ("id", "caption"))
    return [TextInput(str(row["id"]), str(row["caption"]), row.get("coco_val_id")) for row in rows]


def read_questions(path: Path) -> list[Question]:
    """Read question-answer pairs, ours or TIFA's own; rows and duplicates stay as they are.

    Raises:
        ValueError: Not a list of objects with TIFA's seven keys; names the first bad row.
        OSError: The file cannot be read.
    """
    keys = ("id", "caption", "question", "choices", "answer", "element_type", "element")
    return [_question(row) for row in _read_rows(path, keys)]


def _question(row: dict[str, Any]) -> Question:
    return Question(
        id=str(row["id"]),
        caption=row["caption"],
        question=row["question"],
        choices=tuple(row["choices"]),
        answer=row["answer"],
        element_type=row["element_type"],
        element=row["element"],
        coco_val_id=row.get("coco_val_id"),
    )


def _is_there(concept: Concept, count: int) -> str:
    return f"is there {concept.article} {concept.name}?" if count == 1 else f"are there {concept.plural}?"


def _relation(first: Group, direction: str, second: Group) -> str:
    be = "is" if first.count == 1 else "are"
    names = [_name(concepts()[group.concept], group.count) for group in (first, second)]
    return f"{be} the {names[0]} {direction} the {names[1]}?"


def _kind(concept: Concept, count: int) -> str:
    kind = "person" if concept.name in PERSONS else KINDS[concept.category]
    return f"{kind} is" if count == 1 else f"{kind}s are"


def _name(concept: Concept, count: int) -> str:
    return concept.name if count == 1 else concept.plural


def question_row(item: TextInput | Question) -> dict[str, Any]:
    """One row of TIFA's files: its keys in its order, ``coco_val_id`` only where there is one."""
    row = asdict(item)
    if row["coco_val_id"] is None:
        del row["coco_val_id"]
    return row


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    text = json.dumps(rows, indent=4, ensure_ascii=False) + "\n"
    save_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def _read_rows(path: Path, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; docs/benchmarks.md says where TIFA's lie")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path} holds a {type(rows).__name__}; TIFA's files are lists of objects")
    for number, row in enumerate(rows):
        missing = [key for key in keys if key not in row] if isinstance(row, dict) else list(keys)
        if missing:
            raise ValueError(
                f"{path}, row {number}: {', '.join(missing)} missing; needed are {', '.join(keys)}"
            )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the benchmark split of a family in TIFA's formats; returns the exit status."""
    import argparse
    import sys

    parser = argparse.ArgumentParser(prog="python -m training.data.tifa", description=main.__doc__)
    parser.add_argument(
        "--config", type=Path, default=Path("training/configs/emoji.toml"), help="the family's config"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument("--count", type=int, default=BENCHMARK_SCENES, help="captions")
    options = parser.parse_args(arguments)
    from training.data.splits import scenes
    from training.family.config import read_family_config

    try:
        if options.count < 1:
            raise ValueError(f"--count {options.count}; give 1 or more")
        config = read_family_config(options.config)
        benchmark = scenes(config.world, "benchmark", options.count)
        write_benchmark(options.out, benchmark, config.world.names, family=config.name)
        asked = len(read_questions(options.out / QUESTION_ANSWERS))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 2
    print(f"{options.out}: {len(benchmark)} captions, {asked} questions")  # noqa: T201 - a command's output
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
