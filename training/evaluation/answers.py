"""Answers TIFA's questions about what was read off a picture.

The answerer sees what a VQA model sees: the question's words, its choices, and the picture (as a `Reading`);
never the right answer nor the caption. It knows the wordings that `training.data.tifa` asks. The real TIFA
questions are in free English and need a VQA model; they are refused here, not guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cache

from training.data.concepts import concepts
from training.data.layout import SIDES
from training.data.scene import BACKGROUNDS, PLACES
from training.evaluation.reading import Detection, Reading

NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4}
_DIRECTIONS = {"to the left of": (-1, 0), "to the right of": (1, 0), "above": (0, -1), "below": (0, 1)}


def answer(question: str, choices: Sequence[str], reading: Reading) -> str:
    """Answer one multiple-choice question.

    Args:
        question: One of the wordings of `training.data.tifa.questions`.
        choices: The allowed answers.
        reading: What was found in the picture.

    Returns:
        One of the choices.

    Raises:
        ValueError: No choices, or a question in other words than those.
    """
    if not choices:
        raise ValueError(f"question {question!r} has no choices")
    for pattern, respond in _wordings():
        if match := pattern.fullmatch(question):
            given = respond(reading, list(choices), *match.groups())
            return given if isinstance(given, str) else _yes_or_no(given, choices, question)
    raise ValueError(
        f"the emoji judge cannot read the question {question!r}: it knows the wordings of training.data.tifa "
        "only; for TIFA's own questions use a VQA model"
    )


def concept_named(words: str) -> str:
    """The concept that a singular or plural means.

    Raises:
        ValueError: No concept is called that.
    """
    name = _names().get(words)
    if name is None:
        raise ValueError(
            f"{words!r} is no concept's name or plural; training/data/concepts.tsv lists those there are"
        )
    return name


Respond = Callable[..., "str | bool"]


def _yes_or_no(given: bool, choices: Sequence[str], question: str) -> str:
    if set(choices) != {"yes", "no"}:
        raise ValueError(f"question {question!r} wants yes or no, but its choices are {list(choices)}")
    return "yes" if given else "no"


def _is_there(reading: Reading, _: list[str], name: str) -> bool:
    return bool(reading.of(concept_named(name)))


def _are_there(reading: Reading, _: list[str], number: str, name: str) -> bool:
    return len(reading.of(concept_named(name))) == NUMBERS[number]


def _how_many(reading: Reading, choices: list[str], name: str) -> str:
    found = len(reading.of(concept_named(name)))
    return min(choices, key=lambda choice: abs(int(choice) - found))


def _what(reading: Reading, choices: list[str], _kind: str) -> str:
    return _likeliest(reading, choices)


def _background(reading: Reading, choices: list[str]) -> str:
    return max(choices, key=lambda choice: reading.grounds.get(choice, 0.0))


def _is_background(reading: Reading, _: list[str], colour: str) -> bool:
    return reading.ground == colour


def _where(reading: Reading, choices: list[str]) -> str:
    return max(choices, key=lambda choice: reading.grounds.get(_places().get(choice, ""), 0.0))


def _is_place(reading: Reading, _: list[str], wording: str) -> bool:
    return reading.ground == _places().get(wording)


def _stands(reading: Reading, _: list[str], first: str, direction: str, second: str) -> bool:
    subjects, landmarks = reading.of(concept_named(first)), reading.of(concept_named(second))
    return bool(subjects and landmarks) and _obeys(subjects, landmarks, direction)


def _what_stands(reading: Reading, choices: list[str], direction: str, second: str) -> str:
    """Among the choices that do stand there the likeliest; if none does, the likeliest anywhere."""
    landmarks = reading.of(concept_named(second))
    standing = [
        choice
        for choice in choices
        if landmarks and (found := reading.of(concept_named(choice))) and _obeys(found, landmarks, direction)
    ]
    return _likeliest(reading, standing or choices)


def _big_or_small(reading: Reading, choices: list[str], name: str) -> str:
    size, (small, big) = _size(reading, name), _size_borders(reading)
    border = small if len(reading.detections) > 1 else math.sqrt(small * big)
    wanted = "big" if size is not None and size > border else "small"
    return wanted if wanted in choices else choices[0]


def _is_sized(reading: Reading, _: list[str], name: str, word: str) -> bool:
    size, (small, big) = _size(reading, name), _size_borders(reading)
    return size is not None and (size > big if word == "big" else size < small)


def _size_borders(reading: Reading) -> tuple[float, float]:
    """Sides under which a thing is small and above which it is big, shares of the picture's width.

    Halfway, on a log scale, between the sides that a scene of that many things gives to the words: where
    three share it, all are smaller. Only a thing that stands alone is ever called big.
    """
    sides = SIDES[min(max(len(reading.detections), min(SIDES)), max(SIDES))]
    alone = SIDES[min(SIDES)]
    return math.sqrt(sides["small"] * sides["medium"]), math.sqrt(alone["medium"] * alone["big"])


def _likeliest(reading: Reading, choices: Sequence[str]) -> str:
    return max(choices, key=lambda choice: reading.evidence.get(concept_named(choice), 0.0))


def _size(reading: Reading, name: str) -> float | None:
    found = reading.of(concept_named(name))
    return sum(thing.size for thing in found) / len(found) if found else None


def _obeys(subjects: Sequence[Detection], landmarks: Sequence[Detection], direction: str) -> bool:
    """Whether the subjects' middle lies on that side of the landmarks', and more that way than sideways.

    Half of the sideways distance is asked, where the scenes keep all of it: a picture is not refused for a
    hair.
    """
    across, down = _DIRECTIONS[direction]
    dx = _mean([s.x for s in subjects]) - _mean([o.x for o in landmarks])
    dy = _mean([s.y for s in subjects]) - _mean([o.y for o in landmarks])
    along, sideways = (across * dx, dy) if across else (down * dy, dx)
    return along > 0.5 * abs(sideways)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@cache
def _names() -> dict[str, str]:
    plurals = {concept.plural: name for name, concept in concepts().items()}
    return plurals | {name: name for name in concepts()}


@cache
def _places() -> dict[str, str]:
    return {place[0]: name for name, place in PLACES.items()}


@cache
def _wordings() -> tuple[tuple[re.Pattern[str], Respond], ...]:
    """Every wording, the more special before the more general."""
    sides = "|".join(_DIRECTIONS)
    places = "|".join(re.escape(wording) for wording in _places())
    rows: tuple[tuple[str, Respond], ...] = (
        (rf"are there ({'|'.join(NUMBERS)}) (.+)\?", _are_there),
        (r"(?:is there an?|are there) (.+)\?", _is_there),
        (r"how many (.+) are there\?", _how_many),
        (r"what is the color of the background\?", _background),
        (rf"is the background ({'|'.join(BACKGROUNDS)})\?", _is_background),
        (r"where is the scene\?", _where),
        (rf"is the scene ({places})\?", _is_place),
        (r"what (?:other )?(\w+) (?:is|are) in the picture\?", _what),
        (rf"what (?:is|are) ({sides}) the (.+)\?", _what_stands),
        (rf"(?:is|are) the (.+) ({sides}) the (.+)\?", _stands),
        (r"(?:is|are) the (.+) big or small\?", _big_or_small),
        (r"(?:is|are) the (.+) (big|small)\?", _is_sized),
    )
    return tuple((re.compile(pattern), respond) for pattern, respond in rows)
