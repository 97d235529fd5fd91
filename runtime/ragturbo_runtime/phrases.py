"""Object phrases of a prompt: one retrieval query per thing that is to be seen.

A prompt of two objects lies between both in the text encoder's space, and its nearest captions show either; one
query per phrase finds each. The rules know English function words, no names of things.
"""

from __future__ import annotations

import re

MAX_PHRASES = 8
"""More would cost more than they find."""

_DETERMINER = (
    r"(?:an?|the|some|several|many|few|this|that|these|those|his|her|its|their|my|your|our|another|each|every|both|"
    r"one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\d+)\b"
)
_COUNTABLE = rf"(?!the\b){_DETERMINER}"
# Relations that name no object themselves; the longest first, since the first that matches is taken.
_RELATION = (
    r"(?:to|on|at) the (?:left|right)(?: side)? of|(?:on|at) (?:the )?(?:top|bottom) of|in (?:the )?front of|"
    r"in back of|in the (?:middle|cent(?:er|re)) of|(?:on|at) the (?:edge|side) of|inside of|outside of|"
    r"left of|right of|next to|close to|near to|far from|adjacent to|together with|along with|as well as|"
    r"surrounded by|followed by|accompanied by|covered (?:with|in|by)|filled with|made of|"
    r"above|below|beneath|besides?|behind|between|underneath|near|around|against|among|amid|across|"
    r"inside|outside|within|without|through|towards?|upon|onto|into|beyond|opposite|while|who|which|is|are"
)
# These may be part of a name ("face with tears", "water over ice") and separate only before a determiner.
_PREPOSITION = r"with|under|over|by|from|plus|in|on|at|and|or|&|of the"
# These may be adjectives ("a flying saucer") and separate only before a function word or at an end.
_POSTURE = (
    r"sitting|standing|lying|laying|resting|leaning|hanging|floating|flying|running|walking|jumping|swimming|"
    r"sleeping|looking|staring|smiling|eating|drinking|wearing|holding|carrying|riding|driving|playing|reading|"
    r"watching|chasing|facing|touching|wrapped|dressed|placed|parked"
)
_FUNCTION_WORD = rf"{_DETERMINER}|(?:in|on|at|to|up|down|with|under|over|by|and|{_RELATION})\b"

_OPENING = re.compile(
    r"^(?:(?:an? |the )?(?:\w+ ){0,2}?(?:photo|photograph|picture|image|drawing|painting|illustration|sketch|"
    r"rendering|icon|scene|close-?up|portrait|view|shot)\b(?: \w+)?? (?:of|showing|with)|"
    r"there (?:is|are)|draw|show|paint)\s+"
)
_SPLIT = re.compile(
    rf"[,;:.!?()]+|\b(?:{_RELATION})\b|(?<!\ba )(?<!\ban )\b(?:{_POSTURE})\b(?=\s+(?:{_FUNCTION_WORD})|\s*$|\s*[,;.])"
)
# "at the beach", "at night", "under water", "on dark blue": the query for the whole prompt covers these.
_SETTING = re.compile(rf"\b(?:in|on|at)\s+the\b.*|\b(?:in|on|at|under)\s+(?!{_DETERMINER})\w+(?: \w+)?$")
_BEFORE_DETERMINER = re.compile(rf"\b(?:{_PREPOSITION})\s+(?={_COUNTABLE})|\band\s+(?=the\b)")
_DETERMINED = re.compile(rf"^{_DETERMINER}")
_AND = re.compile(r"\b(?:and|or)\b|&")
_DANGLING = re.compile(rf"^(?:(?:{_PREPOSITION})\b\s*)+|\s+(?:{_PREPOSITION}|of|to)$")
_NO_OBJECT = re.compile(rf"(?:{_DETERMINER}|\W|(?:it|them|there|of|to)\b)*|.*\b(?:background|backdrop)")


def split_phrases(prompt: str) -> list[str]:
    """Split a prompt into the phrases that name objects.

    "a red bus left of two cats on a blue background" gives "a red bus" and "two cats": relations, postures and
    conjunctions separate, and a setting ("at the beach", "on a blue background") is left out - the query for
    the whole prompt covers it.

    Args:
        prompt: Any text.

    Returns:
        At most 8 phrases in order, lower case, without repeats; empty where no object is named.
    """
    text = _OPENING.sub("", " ".join(prompt.lower().split()))
    pieces = [piece for part in _SPLIT.split(text) for piece in _split_part(part.strip())]
    found = [phrase for phrase in map(_trim, pieces) if not _NO_OBJECT.fullmatch(phrase)]
    return list(dict.fromkeys(found))[:MAX_PHRASES]


def _split_part(part: str) -> list[str]:
    """Cut a part without relations into phrases, their settings dropped."""
    pieces: list[str] = []
    for piece in _BEFORE_DETERMINER.split(part):
        phrase = _SETTING.sub("", piece.strip())
        # "cats and dogs" is two things, "a black and white cat" is one.
        pieces.extend([phrase] if _DETERMINED.match(phrase) else _AND.split(phrase))
    return pieces


def _trim(phrase: str) -> str:
    return _DANGLING.sub("", phrase.strip()).strip(" '\"-")
