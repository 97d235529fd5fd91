"""Draws and scores the benchmark of new concepts.

Command: ``python -m training.evaluation.new_concepts_run --family training/weights/emoji --out docs``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.concepts import concepts
from training.data.render import Pixels
from training.data.scene import Scene
from training.data.world import Split, World
from training.evaluation.artists import FIRST_SEED
from training.evaluation.bootstrap import mean_interval, paired_difference
from training.evaluation.drawing import draw_in_one_step, with_lora
from training.evaluation.judge import Judge
from training.evaluation.new_concepts import PICTURES, NewConcept, concept_prompts, make_concepts, swapped
from training.evaluation.publish import NEW_CONCEPTS, RESULTS, publish, read_results
from training.evaluation.references import (
    PromptReferences,
    find_references,
    read_features,
    reference_features,
)
from training.evaluation.results import write_json, write_text
from training.evaluation.sheets import save_sheet
from training.evaluation.tables import table
from training.family.folder import load_family, read_settings, world_of
from training.ladd.library import TrainingLibrary, encode_keys, encode_scenes
from training.ladd.setup import encode_library
from training.models.checkpoint import load_adapter

COMMAND = "python -m training.evaluation.new_concepts_run"
SHOTS = (1, 3, 5)
WRONG = 3
"""Pictures of another concept."""
BATCH = 32
LINES = 12
"""Of the sheet: the first prompt of the first concepts, whatever became of them."""


@dataclass(frozen=True)
class NewConceptsBenchmark:
    """A family, its adapter, and what it is asked for."""

    family_path: Path
    judge: Judge
    made: tuple[NewConcept, ...]

    @cached_property
    def scenes(self) -> tuple[Scene, ...]:
        """All prompts, concept by concept."""
        return tuple(scene for one in self.made for scene in one.prompts)

    def run(self) -> tuple[dict[str, NDArray[np.float64]], dict[str, Pixels]]:
        """Draw and judge every way.

        Returns:
            By way, the recall of each concept (N,), and all pictures. ``none``; ``wrong_3``; ``own_1``, ``own_3``,
            ``own_5``.
        """
        pictures = {"none": self._draw(None), f"wrong_{WRONG}": self._draw(self._searched(WRONG, wrong=True))}
        pictures |= {f"own_{count}": self._draw(self._searched(count, wrong=False)) for count in SHOTS}
        return {name: self.recall(some) for name, some in pictures.items()}, pictures

    def recall(self, pictures: Pixels) -> NDArray[np.float64]:
        """Of each concept, the share of its prompts whose picture shows it."""
        found = [
            bool(reading.of(scene.concepts[0]))
            for reading, scene in zip(self.judge.read(pictures), self.scenes, strict=True)
        ]
        per_concept = np.asarray(found, dtype=np.float64).reshape(len(self.made), -1)
        return np.asarray(per_concept.mean(axis=1))

    @cached_property
    def _loaded(self) -> Any:  # noqa: ANN401 - what belongs together: family, adapter, LoRA
        family = load_family(self.family_path)
        checkpoint = load_adapter(self.family_path / "adapter.safetensors")
        return family, checkpoint, with_lora(family, checkpoint), checkpoint.build_adapter()

    @cached_property
    def _library(self) -> TrainingLibrary:
        """The bundle's, then all own pictures, then all wrong ones."""
        family = self._loaded[0]
        added = [scene for made in (self.made, swapped(self.made)) for one in made for scene in one.pictures]
        library = encode_library(family, family.world)
        if not added:
            return library
        captions = tuple(scene.caption for scene in added)
        new = TrainingLibrary(
            captions, encode_scenes(family.vae, added, family.resolution), encode_keys(family.text, captions)
        )
        return library.with_lent(new)

    @cached_property
    def _features(self) -> Any:  # noqa: ANN401
        family, checkpoint, *_ = self._loaded
        return reference_features(family, self._library, checkpoint.metadata)

    def _searched(self, count: int, *, wrong: bool) -> PromptReferences:
        """What the prompts find in the bundle's library with `count` pictures of each concept put in."""
        family, checkpoint, *_ = self._loaded
        library, concepts_made = self._library, len(self.made)
        first = library.own + (concepts_made * PICTURES if wrong else 0)
        added = [first + one * PICTURES + shot for one in range(concepts_made) for shot in range(count)]
        rows = np.array([*range(library.own), *added])
        some = TrainingLibrary(
            tuple(library.captions[row] for row in rows.tolist()), library.latents[rows], library.keys[rows]
        )
        found = find_references(family, some, checkpoint.metadata, [scene.caption for scene in self.scenes])
        return replace(found, rows=rows[found.rows])

    def _draw(self, references: PromptReferences | None) -> Pixels:
        family, _, unet, adapter = self._loaded
        parts = []
        for first in range(0, len(self.scenes), BATCH):
            some = list(range(first, min(first + BATCH, len(self.scenes))))
            prompts = [self.scenes[place].caption for place in some]
            seeds = [FIRST_SEED + place for place in some]
            if references is None:
                parts.append(draw_in_one_step(family, unet, prompts, seeds))
                continue
            parts.append(
                draw_in_one_step(
                    family, unet, prompts, seeds, adapter=adapter,
                    reference_h=read_features(self._features, references.rows[some]),
                    reference_weight=torch.from_numpy(references.weights[some]),
                )
            )  # fmt: skip
        return np.concatenate(parts)


def measure_new_concepts(family_path: Path, judge_file: Path, out: Path, *, split: Split) -> str:
    """Run the benchmark and write new_concepts.json, new_concepts.md and a sheet.

    Args:
        family_path: The family's folder, with adapter.safetensors.
        judge_file: Of ``training.evaluation.judge_training --new-concepts``.
        out: Where to write; the validation split is printed alone.
        split: Whose compositions the prompts are.

    Returns:
        The table, as text.
    """
    world = world_of(read_settings(family_path), family_path)
    made = make_concepts(world, split=split)
    judge = Judge.load(judge_file, new_concepts=True)
    judge.check_concepts((*world.names, *(one.name for one in made)), judge_file)
    benchmark = NewConceptsBenchmark(family_path, judge, made)
    recall, pictures = benchmark.run()
    known = {
        frequency: _known(family_path, judge, world, names, split)
        for frequency, names in (("rare", world.rare), ("common", world.common[: len(world.rare)]))
        if names
    }
    document = _document(benchmark, recall, known, judge)
    lines = _lines(document)
    if split == "benchmark":
        write_json(out / NEW_CONCEPTS, document)
        save_sheet(out / "results" / "new_concepts.png", *_sheet(benchmark, pictures))
        write_text(out / "new_concepts.md", _page(document, lines))
        if (out / RESULTS).exists():  # the results tell of new concepts too
            publish(read_results(out / RESULTS), out)
    return "\n".join(lines)


def _known(
    family_path: Path, judge: Judge, world: World, names: Sequence[str], split: Split
) -> NDArray[np.float64]:
    """The recall of concepts that training showed, in prompts of the same kind, with the bundle's own library."""
    made = tuple(NewConcept(name, name, (), concept_prompts(world, name, split=split)) for name in names)
    benchmark = NewConceptsBenchmark(family_path, judge, made)
    return benchmark.recall(benchmark._draw(benchmark._searched(0, wrong=False)))


def _document(
    benchmark: NewConceptsBenchmark,
    recall: Mapping[str, NDArray[np.float64]],
    known: Mapping[str, NDArray[np.float64]],
    judge: Judge,
) -> dict[str, Any]:
    everything = {**recall, **known}
    return {
        "command": COMMAND,
        "concepts": {one.name: one.word for one in benchmark.made},
        "prompts": len(benchmark.scenes),
        "recall": {name: mean_interval(values).as_list() for name, values in everything.items()},
        "paired": {
            f"own_3_minus_{other}": paired_difference(recall["own_3"], recall[other]).as_list()
            for other in ("none", f"wrong_{WRONG}")
        },
        "by_concept": {
            one.name: {way: round(float(values[place]), 3) for way, values in recall.items()}
            for place, one in enumerate(benchmark.made)
        },
        "judge_errors": judge.errors["drawn"]["all"],
    }


def _lines(document: Mapping[str, Any]) -> list[str]:
    said = {
        "none": "no references",
        f"wrong_{WRONG}": f"{WRONG} pictures of another new concept",
        **{f"own_{count}": f"{count} of its own pictures" for count in SHOTS},
        "rare": "for comparison: rare concepts, the bundle's library",
        "common": "for comparison: common concepts, the bundle's library",
    }
    rows = [
        [said[name], "{:.3f} [{:.3f}, {:.3f}]".format(*values)] for name, values in document["recall"].items()
    ]
    rows += [
        [name, "{:+.3f} [{:+.3f}, {:+.3f}]".format(*values)] for name, values in document["paired"].items()
    ]
    return table(["library holds", "found"], rows)


def _page(document: Mapping[str, Any], lines: Sequence[str]) -> str:
    best = sorted(document["by_concept"].items(), key=lambda item: -item[1]["own_3"])
    return "\n".join(
        [
            "# New concepts without training",
            "",
            f"Written by `{COMMAND}`, never by hand. {len(document['concepts'])} concepts that no training has shown,",
            f"each under a made-up name, {document['prompts']} prompts; found: the share that the judge finds in the",
            "pictures, mean over concepts and its 95 % bootstrap interval over concepts. Library pictures show the",
            "thing alone; pictures and prompts share no composition.",
            "",
            *lines,
            "",
            f"The judge answers {document['judge_errors']:.1%} of the questions about perfect pictures wrong.",
            "",
            "By concept, with three pictures: "
            + ", ".join(f"{name} {some['own_3']:.1f}" for name, some in best)
            + ".",
            "",
            "![the first prompt of the first concepts](results/new_concepts.png)",
            "",
        ]
    )


def _sheet(
    benchmark: NewConceptsBenchmark, pictures: Mapping[str, Pixels]
) -> tuple[list[str], dict[str, Pixels]]:
    """The first prompt of the first concepts: asked for, references, every way."""
    from training.data.render import draw

    resolution, per_concept = benchmark.judge.resolution, len(benchmark.made[0].prompts)
    places = [number * per_concept for number in range(min(LINES, len(benchmark.made)))]
    captions = [
        f"{benchmark.scenes[place].caption} ({concepts()[benchmark.scenes[place].concepts[0]].name})"
        for place in places
    ]
    shown = [benchmark.made[number].pictures[0] for number in range(len(places))]
    columns = {
        "asked for": np.stack([draw(benchmark.scenes[place], resolution) for place in places]),
        "1st picture": np.stack([draw(scene, resolution) for scene in shown]),
    }
    return captions, columns | {name: some[places] for name, some in pictures.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what a family draws of concepts that it never saw; returns the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=main.__doc__)
    parser.add_argument(
        "--family", type=Path, default=Path("training/weights/emoji"), help="the family's folder"
    )
    parser.add_argument("--judge", type=Path, help="default: judge_new.safetensors in the family's folder")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder for the results")
    parser.add_argument(
        "--split",
        choices=("benchmark", "validation"),
        default="benchmark",
        help="validation: printed, not written",
    )
    options = parser.parse_args(arguments)
    try:
        judge = options.judge or options.family / "judge_new.safetensors"
        print(measure_new_concepts(options.family, judge, options.out, split=options.split))  # noqa: T201 - a command's output
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 2
    except KeyboardInterrupt:
        print("stopped: nothing was written", file=sys.stderr)  # noqa: T201 - a command's output
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
