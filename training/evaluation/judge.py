"""The judge: reads scenes off pictures, so that TIFA's questions can be asked of them.

It is trained apart from the generator, on drawn scenes with damage (judge_pictures, judge_faults), and shares
no weight with it. Its own error rate is measured at the end of its training and kept in its file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.atomic import save_atomically
from training.data.render import Pixels
from training.data.scene import Scene
from training.data.world import Frequency, World
from training.evaluation.judge_network import STRIDE, JudgeNetwork
from training.evaluation.reading import GROUNDS, Detection, Reading

ErrorRates = dict[str, dict[str, float]]

THRESHOLD = 0.5
"""Probability from which a thing counts as there."""
_SAME_PLACE = 0.5  # centres nearer than this, in mean sides, are one thing (scenes keep 0.9)


def training_command(path: Path, *, new_concepts: bool = False) -> str:
    """Return the command that trains a judge for a family, whose folder its file lies in by default."""
    also = " --new-concepts" if new_concepts else ""
    command = "python -m training.evaluation.judge_training --config CONFIG"
    return f"{command} --vae {path.parent / 'vae'}{also} --out {path}, CONFIG being the family's"


@dataclass
class Judge:
    """A trained reader of pictures."""

    network: JudgeNetwork
    concepts: tuple[str, ...]
    """What it can find, in the order of the network's classes."""
    frequencies: dict[str, Frequency]
    """Concept -> how often the generator's training showed it."""
    resolution: int
    """Side in pixels of the pictures that it was trained on."""
    errors: ErrorRates = field(default_factory=dict)
    """Kind of pictures -> element type -> share of questions that it answers wrong about perfect pictures."""

    @classmethod
    def untrained(cls, world: World, *, resolution: int) -> Judge:
        """A judge with random weights for a family's world."""
        frequencies = {name: world.frequency(name) for name in world.names}
        return cls(JudgeNetwork(len(world.names), len(GROUNDS)), world.names, frequencies, resolution)

    @classmethod
    def load(cls, path: Path, *, new_concepts: bool = False) -> Judge:
        """Read a judge.

        Args:
            path: A safetensors file that `save` wrote.
            new_concepts: Whether it must know things that no training shows: the message then says so.

        Raises:
            FileNotFoundError: It is not there; the message holds the command that makes it.
            ValueError: It is no judge, or a judge of other grounds than this code's.
        """
        from safetensors import SafetensorError, safe_open

        if not path.exists():
            raise FileNotFoundError(
                f"no judge at {path}; make one with: {training_command(path, new_concepts=new_concepts)}"
            )
        try:
            with safe_open(str(path), framework="pt") as file:
                settings = json.loads((file.metadata() or {})["ragturbo"])
                weights = {key: file.get_tensor(key).float() for key in file.keys()}
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is no judge, or is damaged ({error}); make it again") from error
        if settings.get("grounds") != list(GROUNDS):
            raise ValueError(
                f"{path} reads the grounds {settings.get('grounds')}, this code asks for {list(GROUNDS)}"
            )
        network = JudgeNetwork(len(settings["concepts"]), len(GROUNDS))
        network.load_state_dict(weights)
        network.eval().requires_grad_(False)
        return cls(
            network,
            tuple(settings["concepts"]),
            settings["frequencies"],
            settings["resolution"],
            settings["errors"],
        )

    def check_world(self, world: World) -> None:
        """Refuse to judge a family with concepts that this judge was not trained on.

        Raises:
            ValueError: A concept, or how often training shows it, differs; names the first.
        """
        for name in world.names:
            if self.frequencies.get(name) != world.frequency(name):
                raise ValueError(
                    f"the judge knows {name!r} as {self.frequencies.get(name)}, the family as "
                    f"{world.frequency(name)}: train it again with python -m training.evaluation.judge_training and "
                    "the family's --config and --vae"
                )

    def check_concepts(self, names: Iterable[str], path: Path) -> None:
        """Refuse to look for things that this judge was not trained on: it would find none of them in any picture.

        Args:
            names: Of the concepts.
            path: The judge's file, for the message.

        Raises:
            ValueError: It does not know one; names the first, and the command that makes a judge which does.
        """
        for name in names:
            if name not in self.concepts:
                command = training_command(path, new_concepts=True)
                raise ValueError(
                    f"{path}: the judge does not know {name!r}; delete it, and train one that does: {command}"
                )

    def save(self, path: Path) -> None:
        """Write weights as float16 and everything else as metadata, whole or not at all."""
        from safetensors.torch import save_file

        settings = {
            "concepts": list(self.concepts),
            "frequencies": self.frequencies,
            "grounds": list(GROUNDS),
            "resolution": self.resolution,
            "errors": self.errors,
        }
        weights = {key: value.half().contiguous() for key, value in self.network.state_dict().items()}
        metadata = {"ragturbo": json.dumps(settings)}
        save_atomically(path, lambda beside: save_file(weights, str(beside), metadata=metadata))

    @torch.no_grad()
    def read(self, pictures: Pixels, *, batch: int = 64) -> list[Reading]:
        """Find what is in pictures.

        Args:
            pictures: (N, H, W, 3) uint8 sRGB; H and W divisible by 8, best at `resolution`.
            batch: Pictures at a time.

        Returns:
            One reading per picture.

        Raises:
            ValueError: Another shape or dtype.
        """
        _check_pictures(pictures)
        readings: list[Reading] = []
        for start in range(0, len(pictures), batch):
            pixels = torch.from_numpy(pictures[start : start + batch].astype(np.float32) / 127.5 - 1)
            logits, boxes, grounds = self.network(pixels.permute(0, 3, 1, 2).contiguous())
            arrays = zip(logits.softmax(1).numpy(), boxes.numpy(), grounds.softmax(1).numpy(), strict=True)
            readings += [self._reading(*one) for one in arrays]
        return readings

    def _reading(
        self, concepts: NDArray[np.float32], boxes: NDArray[np.float32], grounds: NDArray[np.float32]
    ) -> Reading:
        evidence = concepts[:-1].max(axis=(1, 2))
        return Reading(
            self._detections(concepts[:-1], boxes),
            dict(zip(self.concepts, evidence.tolist(), strict=True)),
            dict(zip(GROUNDS, grounds.tolist(), strict=True)),
        )

    def _detections(self, concepts: NDArray[np.float32], boxes: NDArray[np.float32]) -> tuple[Detection, ...]:
        """Cells in order of their certainty: the first to point at a place names the thing, all place it."""
        confidence, (height, width) = concepts.max(axis=0), concepts.shape[1:]
        rows, columns = np.nonzero(confidence >= THRESHOLD)
        found: list[list[Detection]] = []
        for cell in np.argsort(-confidence[rows, columns], kind="stable"):
            row, column = rows[cell], columns[cell]
            x, y, log_side = boxes[:, row, column]
            thing = Detection(
                self.concepts[int(concepts[:, row, column].argmax())],
                float((column + 0.5 + x) / width),
                float((row + 0.5 + y) / height),
                float(np.exp(log_side) / width),
                float(confidence[row, column]),
            )
            votes = next((votes for votes in found if _is_same_place(thing, votes[0])), None)
            if votes is None:
                found.append([thing])
            else:
                votes.append(thing)
        return tuple(_mean(votes) for votes in found)


def object_recall(judge: Judge, images: Pixels, scenes: Sequence[Scene]) -> dict[str, float]:
    """How many of the asked-for things are there: the gate of teacher, student and adapter.

    Args:
        judge: The reader.
        images: (N, H, W, 3) uint8, one per scene.
        scenes: What each picture should show.

    Returns:
        Share of the groups whose concept was found at least once: ``all``, and ``common``, ``rare`` and
        ``library_only`` by the concept's frequency in training (missing where no scene asks for one).
        ``first``: share of the one-group pictures whose concept has more evidence than every other;
        ``ground``: share of the pictures with the right background or place. All in [0, 1].

    Raises:
        ValueError: Not one picture per scene, none at all, or a concept that the judge does not know.
    """
    if len(images) != len(scenes) or not len(scenes):
        raise ValueError(
            f"object_recall needs one picture per scene, and at least one: {len(images)}, {len(scenes)}"
        )
    if unknown := {name for scene in scenes for name in scene.concepts} - judge.frequencies.keys():
        raise ValueError(
            f"the judge was not trained on {sorted(unknown)}: it can only find its family's concepts"
        )
    hits: dict[str, list[bool]] = {}
    for reading, scene in zip(judge.read(images), scenes, strict=True):
        for concept in scene.concepts:
            found = bool(reading.of(concept))
            hits.setdefault("all", []).append(found)
            hits.setdefault(judge.frequencies[concept], []).append(found)
        if len(scene.concepts) == 1:
            best = max(reading.evidence, key=reading.evidence.__getitem__)
            hits.setdefault("first", []).append(best == scene.concepts[0])
        hits.setdefault("ground", []).append(reading.ground == (scene.place or scene.background))
    return {name: sum(values) / len(values) for name, values in hits.items()}


def _mean(votes: Sequence[Detection]) -> Detection:
    """The first of some detections of one place, at the mean place and with the mean size of all."""
    count = len(votes)
    return replace(
        votes[0],
        x=sum(vote.x for vote in votes) / count,
        y=sum(vote.y for vote in votes) / count,
        size=sum(vote.size for vote in votes) / count,
    )


def _is_same_place(first: Detection, second: Detection) -> bool:
    distance = max(abs(first.x - second.x), abs(first.y - second.y))
    return distance < _SAME_PLACE * (first.size + second.size) / 2


def _check_pictures(pictures: Pixels) -> None:
    divisor = 2 * STRIDE
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3:
        raise ValueError(f"pictures must be (N, H, W, 3) uint8, not {pictures.shape} {pictures.dtype}")
    if not len(pictures) or pictures.shape[1] % divisor or pictures.shape[2] % divisor:
        raise ValueError(
            f"pictures must be at least one, with sides divisible by {divisor}, not {pictures.shape}"
        )
