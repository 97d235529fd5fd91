"""The rows of the results: who draws the benchmark, from the same prompts and the same noise.

Each row's pictures are kept, so that a stopped run goes on and a new score does not need new pictures. A
row's folder is named by a hash of everything that its pictures depend on: a retrained adapter never finds the
old one's pictures.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ragturbo_runtime.files import hash_file
from training.atomic import save_atomically
from training.data.render import Pixels
from training.evaluation.artists import (
    FIRST_SEED,
    LCM_STEPS,
    MAKE_BASELINES,
    TEACHER_STEPS,
    WRONG_SEED,
    Artists,
    BundleArtist,
    Draw,
)
from training.family.weight_files import DIFFUSERS_WEIGHTS
from training.ladd.library import Codec

logger = logging.getLogger(__name__)

BATCH = 32
SLERP_STRENGTH = 0.2
"""The paper's weight 0.8 is the target's."""
SLERP_GRID = tuple(step / 10 for step in range(1, 10))
"""The paper's grid."""
SEEDS = len(SLERP_GRID)
"""As many tries for the control of the grid."""
ADAPTER, WEIGHTS = "adapter.safetensors", DIFFUSERS_WEIGHTS
NO_REFERENCES = "adapter_no_references_1"
"""A control beside the table: adapter and LoRA, retrieval off; what a user gets with ``retrieval=False``."""

_SHARED = ("text_encoder", "vae")
"""Of the base, what the many-step models draw with too."""


@dataclass(frozen=True)
class Row:
    """One way to draw."""

    name: str
    about: str
    """What it is, for the page."""
    draw: Callable[[Artists], AbstractContextManager[Draw]]
    files: tuple[str, ...] = ()
    """In the family's folder; its pictures depend on them, beside the base."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What else they depend on."""
    bundled: bool = False
    """Whether they depend on the exported bundle."""
    one_step: bool = True
    """Whether they depend on the one-step base."""
    way_out: str = "train it: docs/train.md"
    """Where a file is missing."""
    optional: bool = False
    """Whether the results may do without it: a baseline that was not trained."""

    def depends_on(self, artists: Artists) -> dict[str, Any]:
        """Everything but the code that its pictures depend on: files by hash, prompts, settings."""
        prompts = hashlib.sha256("\n".join(artists.prompts).encode()).hexdigest()
        base = {part: value for part, value in artists.hashes.items() if self.one_step or part in _SHARED}
        needs = {"row": self.name, "base": base, "first_seed": FIRST_SEED, "prompts": prompts}
        needs |= {file: self._hash(artists.path / file) for file in self.files}
        if self.bundled:
            needs["bundle"] = hash_file(artists.bundle / "manifest.json") if artists.bundle else None
        return needs | {"guidance_scale": artists.guidance_scale} | dict(self.settings)

    def is_left_out(self, artists: Artists) -> bool:
        """Whether it is optional and its files are missing; says so."""
        missing = [file for file in self.files if not (artists.path / file).exists()]
        if not missing or not self.optional:
            return False
        logger.warning(
            "row %s is left out: %s is missing; %s", self.name, artists.path / missing[0], self.way_out
        )
        return True

    def _hash(self, path: Path) -> str:
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing, and row {self.name} is drawn with it; {self.way_out}"
            )
        return hash_file(path)


def _plain(draw: Callable[[Artists], Draw]) -> Callable[[Artists], AbstractContextManager[Draw]]:
    return lambda artists: nullcontext(draw(artists))


def _adapter(artists: Artists) -> AbstractContextManager[Draw]:
    """Through the exported bundle where there is one: then what ships is what is measured."""
    if artists.bundle is not None:
        return BundleArtist(artists, artists.bundle, artists.count)
    return nullcontext(artists.with_references(artists.references(artists.count), artists.features()))


def _retrieval_off(artists: Artists) -> AbstractContextManager[Draw]:
    if artists.bundle is not None:
        return BundleArtist(artists, artists.bundle, 0)
    return nullcontext(artists.without_references())


def _wrong(artists: Artists) -> Draw:
    references = artists.references(artists.count).of_other_prompts(seed=WRONG_SEED)
    return artists.with_references(references, artists.features())


def _some(count: int) -> Callable[[Artists], AbstractContextManager[Draw]]:
    return _plain(lambda artists: artists.with_references(artists.references(count), artists.features()))


def _lambda_one(artists: Artists) -> Draw:
    found = artists.references(artists.count)
    weights = (found.weights > 0).astype(np.float32)
    return artists.with_references(replace(found, weights=weights), artists.features())


def _other_features(
    *, pool: int | None = None, codec: Codec | None = None
) -> Callable[[Artists], AbstractContextManager[Draw]]:
    return _plain(
        lambda artists: artists.with_references(
            artists.references(artists.count), artists.features(pool=pool, codec=codec)
        )
    )


ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("teacher_50", f"the teacher, {TEACHER_STEPS} DDIM steps with guidance", _plain(Artists.with_teacher),
            (f"teacher/{WEIGHTS}",), {"steps": TEACHER_STEPS}, one_step=False),
        Row("lcm_4", "a latent consistency model of the teacher", _plain(Artists.with_lcm),
            (f"lcm/{WEIGHTS}",), {"steps": LCM_STEPS}, one_step=False, way_out=MAKE_BASELINES, optional=True),
        Row("rdm_50", f"RDM: {TEACHER_STEPS} steps, sees retrieved CLIP embeddings", _plain(Artists.with_rdm),
            (f"rdm/{WEIGHTS}",), {"steps": TEACHER_STEPS}, one_step=False, way_out=MAKE_BASELINES, optional=True),
        Row("base_1", "the one-step base", _plain(Artists.with_base)),
        Row("slerp_fixed_1", f"the base, references injected with strength {SLERP_STRENGTH}",
            _plain(lambda artists: artists.with_slerp(SLERP_STRENGTH)), (ADAPTER,), {"strength": SLERP_STRENGTH}),
        Row("lora_only_1", "the base with LoRA alone, trained without retrieval", _plain(Artists.with_lora_only),
            ("lora_only.safetensors",)),
        Row("adapter_1", "adapter and LoRA: what ships", _adapter, (ADAPTER,), bundled=True),
        Row("adapter_wrong_references_1", "the same with another caption's references", _plain(_wrong), (ADAPTER,)),
    )
}  # fmt: skip
"""The table, in its order."""
CONTROLS: dict[str, Row] = {
    row.name: row
    for row in (
        Row(NO_REFERENCES, "what ships, retrieval off", _retrieval_off, (ADAPTER,), bundled=True),
        Row("adapter_k1_1", "one reference", _some(1), (ADAPTER,), {"references": 1}),
        Row("adapter_k2_1", "two references", _some(2), (ADAPTER,), {"references": 2}),
        Row("adapter_k8_1", "eight references", _some(8), (ADAPTER,), {"references": 8}),
        Row("adapter_lambda_one_1", "every reference with lambda 1", _plain(_lambda_one), (ADAPTER,)),
        Row("adapter_float32_1", "features not rounded to int8", _other_features(codec="float32"),
            (ADAPTER,)),
        Row("adapter_float16_1", "features rounded to float16", _other_features(codec="float16"),
            (ADAPTER,)),
        Row("adapter_product_1", "features in product codes, a byte for eight channels",
            _other_features(codec="product"), (ADAPTER,)),
        Row("adapter_unpooled_1", "features of every cell instead of pooled ones", _other_features(pool=1),
            (ADAPTER,)),
        Row("slerp_mid_input_1", "direct injection before the mid-block instead of after it",
            _plain(lambda artists: artists.with_slerp(SLERP_STRENGTH, "input")), (ADAPTER,)),
    )
}  # fmt: skip
"""What stands beside the table."""
CANDIDATES: dict[str, tuple[Row, ...]] = {
    "slerp_best_1": tuple(
        Row(f"slerp_{strength}", "", _plain(lambda artists, s=strength: artists.with_slerp(s)),  # type: ignore[misc]
            (ADAPTER,), {"strength": strength})
        for strength in SLERP_GRID
    ),
    "best_of_seeds_1": tuple(
        Row(f"base_seed_{number}", "", _plain(lambda artists, n=number: artists.with_base(n)),  # type: ignore[misc]
            (), {"candidate": number})
        for number in range(SEEDS)
    ),
}  # fmt: skip
"""Rows whose pictures are the best of some, caption by caption, by the score itself."""
CHOSEN = {
    "slerp_best_1": "the base, references injected with the best of {} strengths, caption by caption",
    "best_of_seeds_1": "the base, the best of {} seeds, caption by caption: what such choice gives by itself",
}
"""What they are, for the page; with the number of candidates, which the results hold."""
DRAWN = "drawn_scenes"
"""A control beside the table: the drawn scenes. What is missing there, the judge lost."""
THROUGH_VAE = "drawn_through_vae"
"""A control beside the table: the same, encoded and decoded. What is missing there alone, the autoencoder lost."""
ORDER = (
    *list(ROWS)[:5], *CANDIDATES, *list(ROWS)[5:], *CONTROLS, DRAWN, THROUGH_VAE,
)  # fmt: skip
"""All rows: the table in the order of the paper's (others, direct injection, ours), then the controls."""
TABLE = ORDER[: len(ROWS) + len(CANDIDATES)]


def draw_row(artists: Artists, row: Row, cache: Path, *, batch: int = BATCH) -> Pixels:
    """Draw a row, or what is missing of it.

    Args:
        artists: Who draws.
        row: Which.
        cache: Folder of kept pictures.
        batch: Pictures at a time, and per file.

    Returns:
        (N, H, W, 3) uint8, one picture per prompt.
    """
    needs = {**row.depends_on(artists), "batch": batch}
    key = hashlib.sha256(json.dumps(needs, sort_keys=True).encode()).hexdigest()[:16]
    folder, count = cache / f"{row.name}-{key}", len(artists.prompts)
    parts = [list(range(first, min(first + batch, count))) for first in range(0, count, batch)]
    files = [folder / f"{part[0]:05d}.npy" for part in parts]
    if not all(file.exists() for file in files):
        with row.draw(artists) as draw, tqdm(total=count, desc=row.name, unit="picture") as bar:
            for part, file in zip(parts, files, strict=True):
                if not file.exists():
                    _save(file, draw(part))
                bar.update(len(part))
    return np.concatenate([np.load(file, allow_pickle=False) for file in files])


def find_row(name: str) -> Row:
    """Look a row of the table or of the controls up.

    Raises:
        ValueError: There is no such row.
    """
    known = ROWS | CONTROLS
    if name not in known:
        raise ValueError(f"row {name!r} is unknown; there are {', '.join(ORDER)}")
    return known[name]


def _save(path: Path, pictures: Pixels) -> None:
    def write(beside: Path) -> None:
        with beside.open("wb") as file:  # np.save would add .npy to the name
            np.save(file, pictures, allow_pickle=False)

    save_atomically(path, write)
