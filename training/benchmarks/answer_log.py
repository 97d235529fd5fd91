"""The answers of a VQA model about one row's pictures, kept line by line: a run that was stopped goes on.

A line holds for one picture and its questions, both by their hash: where either changed, it is asked again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from training.atomic import save_atomically
from training.benchmarks.vqa_model import Answer, Asked


class AnswerLog:
    """A JSON-lines file of answers, one line a picture."""

    def __init__(self, path: Path) -> None:
        """Read what was answered before; a line that a crash cut off does not count.

        Args:
            path: The file; it need not be there.

        Raises:
            OSError: It cannot be read or written.
        """
        self.path = path
        self._answers: dict[str, list[Answer]] = {}
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        whole = [line for line in lines if self._take(line)]
        text = "".join(f"{line}\n" for line in whole)
        save_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))

    def find(self, picture_sha256: str, asked: Sequence[Asked]) -> list[Answer] | None:
        """The answers to these questions about this picture, or None."""
        return self._answers.get(_key(picture_sha256, asked))

    def add(self, picture_sha256: str, asked: Sequence[Asked], answers: Sequence[Answer]) -> None:
        """Keep answers, one per question.

        Raises:
            OSError: The disk is full; what was kept before stays.
        """
        key = _key(picture_sha256, asked)
        record = {"key": key, "answers": [[one.choice, one.free_form] for one in answers]}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self._answers[key] = list(answers)

    def _take(self, line: str) -> bool:
        try:
            record = json.loads(line)
            answers = [Answer(str(choice), str(free)) for choice, free in record["answers"]]
            self._answers[str(record["key"])] = answers
        except (ValueError, KeyError, TypeError):
            return False
        return True


def _key(picture_sha256: str, asked: Sequence[Asked]) -> str:
    questions = json.dumps([[one.question, one.choices] for one in asked])
    return hashlib.sha256(f"{picture_sha256}{questions}".encode()).hexdigest()
