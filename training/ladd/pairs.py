"""Pairs on disk: (prompt, noise, latents), in WebDataset tar shards.

A shard `pairs-000003.tar` holds, for each sample, `<key>.json` with the prompt and the seed and
`<key>.latents.npy` with the latents in float16. Of a teacher-made pair the noise is not stored:
`ragturbo_runtime.noise` makes it again from the seed, bit for bit. The noise of a real pair
(`training.ladd.real_pairs`) stands for no seed and lies in `<key>.noise.npy`, in float16. `pairs.json` beside the
shards says what they were made with, so that pairs of another teacher are never mixed in, and `<shard>.sha256` what
its bytes were, so that none is read that changed since (`training.ladd.shard_file`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ragturbo_runtime.noise import batch_noise
from training.ladd.shard_file import read_shard, write_shard
from training.recipe import check_recipe, write_recipe

FORMAT_VERSION = 1
RECIPE_FILE = "pairs.json"
MAKE_AGAIN = "delete it and run the same command again: only the shards that are missing are made anew"
SYNTHESIZE_AGAIN = (
    "delete it and run python -m training.synthesize again, as it made this folder: only the shards that are missing "
    "are made anew"
)
NO_SEED = -1
"""Stands for the seed of a noise that was found, not drawn."""


def noise_of_seeds(seeds: Sequence[int] | Tensor, latent_shape: tuple[int, int, int]) -> Tensor:
    """Draw the noise that each seed stands for, as the runtime draws it.

    Args:
        seeds: One integer a picture.
        latent_shape: (c, h, w).

    Returns:
        (B, c, h, w) float32, N(0, 1).
    """
    return torch.from_numpy(batch_noise([int(seed) for seed in seeds], latent_shape))


@dataclass(frozen=True)
class Pairs:
    """Some pairs, in memory. Row i of every field belongs to pair i."""

    prompts: tuple[str, ...]
    """What the teacher was asked to draw, or what a real picture shows."""
    seeds: Tensor
    """(B,) int64: `ragturbo_runtime.noise` makes the starting noise from it; `NO_SEED` for a real pair."""
    latents: Tensor
    """(B, c, h, w) float32: what the teacher drew, or the real picture's, in model space (scaled)."""
    found_noise: Tensor | None = None
    """(B, c, h, w) float32: the noise that leads to real pictures; any value where there is a seed. None: all have
    seeds."""

    def __post_init__(self) -> None:
        """Refuse rows that do not belong together."""
        if self.found_noise is not None and self.found_noise.shape != self.latents.shape:
            raise ValueError(
                f"noise of shape {tuple(self.found_noise.shape)} for latents of {tuple(self.latents.shape)}"
            )
        if self.found_noise is None and bool((self.seeds == NO_SEED).any()):
            raise ValueError("a pair has neither a seed nor a noise")
        if not len(self.prompts) == len(self.seeds) == len(self.latents):
            raise ValueError(
                f"{len(self.prompts)} prompts, {len(self.seeds)} seeds and {len(self.latents)} latents; "
                "a pair has one of each"
            )

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.prompts)

    def noise(self, indices: Sequence[int]) -> Tensor:
        """Draw the noise of some pairs: (len(indices), c, h, w) float32, N(0, 1)."""
        _, channels, height, width = self.latents.shape
        seeds = self.seeds[list(indices)]
        shape = (channels, height, width)
        if self.found_noise is None:
            return noise_of_seeds(seeds, shape)
        noise, drawn = self.found_noise[list(indices)], seeds != NO_SEED  # a copy: the indices are a list
        if drawn.any():
            noise[drawn] = noise_of_seeds(seeds[drawn], shape)
        return noise

    def is_real(self, indices: Sequence[int]) -> Tensor:
        """(len(indices),) bool: which pairs are real ones, with a noise that was found."""
        return self.seeds[list(indices)] == NO_SEED


@dataclass(frozen=True)
class PairRecipe:
    """What pairs are made with. Two sets with equal recipes may be mixed, all others may not."""

    teacher: str
    """SHA-256 of the teacher's weights."""
    text_encoder: str
    """SHA-256 of the text encoder's weights."""
    steps: int
    """Sampling steps of DPM-Solver++ (2M), or for real pairs midpoint steps of the inversion."""
    guidance_scale: float
    """Classifier-free guidance; 1 = none, as for every real pair."""
    latent_shape: tuple[int, int, int]
    """(c, h, w) of the latents."""
    first_seed: int
    """Pair i starts from the noise of seed first_seed + i; of real pairs it is the number i that counts from it."""
    prompts: str
    """Where the prompts come from, such as "emoji train scenes 0.."."""
    shard_size: int
    """Pairs a shard."""


class PairShards:
    """A folder of numbered shards, all of one recipe.

    Shard n holds the pairs from n * shard_size up to (n + 1) * shard_size.

    Args:
        directory: The folder; made if it is missing.
        recipe: What the pairs are made with.
        way_out: What errors say about a bad shard.

    Raises:
        ValueError: The folder holds pairs of another recipe, or its description cannot be read.
    """

    def __init__(self, directory: Path, recipe: PairRecipe, *, way_out: str = MAKE_AGAIN) -> None:
        self.directory, self.recipe, self.way_out = directory, recipe, way_out
        described = {"format_version": FORMAT_VERSION, **json.loads(json.dumps(asdict(recipe)))}
        path = directory / RECIPE_FILE
        if path.exists():
            way_out = "use another folder, or delete this one"
            check_recipe(path, described, what="pairs", way_out=way_out)
        else:
            write_recipe(path, described)

    @classmethod
    def open(cls, directory: Path) -> PairShards:
        """Open what `training.synthesize` made, whatever its recipe.

        Raises:
            FileNotFoundError: The folder holds no pairs.
            ValueError: Its description cannot be read.
        """
        path = directory / RECIPE_FILE
        try:
            described = json.loads(path.read_text(encoding="utf-8"))
            described.pop("format_version", None)
            shape = tuple(described.pop("latent_shape"))
            recipe = PairRecipe(latent_shape=shape, **described)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{path}: not there; make pairs with python -m training.synthesize"
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: no description of pairs ({error}); make them anew") from error
        return cls(directory, recipe, way_out=SYNTHESIZE_AGAIN)

    def shard_path(self, index: int) -> Path:
        """Name the file of a shard, whether it exists or not."""
        return self.directory / f"pairs-{index:06d}.tar"

    def complete(self) -> list[int]:
        """List the shards that are on the disk, in order. A shard is whole or not there; other files are none."""
        named = (
            re.fullmatch(r"pairs-(\d{6,})\.tar", path.name) for path in self.directory.glob("pairs-*.tar")
        )
        return sorted(int(match[1]) for match in named if match)

    def write(self, index: int, pairs: Pairs) -> None:
        """Write one shard, whole or not at all.

        Args:
            index: Number of the shard, 0 or more.
            pairs: At most `recipe.shard_size` pairs.

        Raises:
            ValueError: Too many pairs, latents of another shape, or a latent that is not finite.
            OSError: The disk is full or the folder cannot be written.
        """
        if not 0 < len(pairs) <= self.recipe.shard_size:
            raise ValueError(f"{len(pairs)} pairs for a shard of 1 to {self.recipe.shard_size}")
        if tuple(pairs.latents.shape[1:]) != tuple(self.recipe.latent_shape):
            raise ValueError(
                f"latents {tuple(pairs.latents.shape[1:])}, the recipe says {self.recipe.latent_shape}"
            )
        for kind, values in (("latents", pairs.latents), ("found noise", pairs.found_noise)):
            if values is not None and not torch.isfinite(values).all():
                raise ValueError(f"shard {index}: its {kind} hold NaN or infinity; is the teacher trained?")
        contents = (pairs.prompts, pairs.seeds, pairs.latents, pairs.found_noise)
        write_shard(self.shard_path(index), index * self.recipe.shard_size, contents)

    def read(self, index: int) -> Pairs:
        """Read one shard.

        Raises:
            ValueError: The shard is missing, empty, cut off, changed since it was written, or holds something else;
                says how to make it again.
        """
        path, shape = self.shard_path(index), tuple(self.recipe.latent_shape)
        try:
            pairs = Pairs(*read_shard(path, index * self.recipe.shard_size))
            if tuple(pairs.latents.shape[1:]) != shape or len(pairs) > self.recipe.shard_size:
                raise ValueError(
                    f"{len(pairs)} pairs with latents {tuple(pairs.latents.shape[1:])}, the recipe says at most "
                    f"{self.recipe.shard_size} with {shape}"
                )
        except Exception as error:  # numpy, tarfile, json and torch raise what they like about damaged bytes
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise ValueError(f"{path}: not a shard of pairs ({reason}); {self.way_out}") from error
        return pairs

    def load(self, count: int | None = None) -> Pairs:
        """Read the first pairs into memory.

        Args:
            count: How many pairs; None = all that are there.

        Raises:
            ValueError: There are fewer, a shard is bad, or one is missing between others.
        """
        parts: list[Pairs] = []
        for place, index in enumerate(self.complete()):
            if index != place and (count is None or sum(map(len, parts)) < count):
                way_out = self.way_out.removeprefix("delete it and ")
                raise ValueError(f"{self.shard_path(place)}: missing, and later shards are there; {way_out}")
            if count is not None and sum(map(len, parts)) >= count:
                break
            parts.append(self.read(index))
        have = sum(map(len, parts))
        if have == 0 or (count is not None and have < count):
            raise ValueError(
                f"{self.directory} holds {have} pairs, {count or 'at least 1'} are needed; make them first"
            )
        whole = join_pairs(parts)
        noise = None if whole.found_noise is None else whole.found_noise[:count]
        return Pairs(whole.prompts[:count], whole.seeds[:count], whole.latents[:count], noise)

    def fill(
        self,
        count: int,
        prompt_of: Callable[[int], str],
        sample: Callable[[Sequence[str], Sequence[int]], Iterator[Pairs]],
        *,
        on_progress: Callable[[int], None] = lambda pairs: None,
    ) -> None:
        """Make the shards that are missing, so that there are `count` pairs. It can be stopped and called again.

        Args:
            count: Pairs wanted; rounded up to whole shards.
            prompt_of: Gives the prompt of pair i; the same one every time.
            sample: Makes the pairs of these prompts and seeds (or numbers), in order, in batches: `synthesize_pairs` or
                a `RealPairSampler`.
            on_progress: Called with the number of pairs just made, or found on the disk.
        """
        size = self.recipe.shard_size
        done = set(self.complete())
        for index in range(whole_shards(count, size) // size):
            if index in done:
                on_progress(size)
                continue
            rows = range(index * size, (index + 1) * size)
            parts = []
            for part in sample(
                [prompt_of(row) for row in rows], [self.recipe.first_seed + row for row in rows]
            ):
                parts.append(part)
                on_progress(len(part))
            self.write(index, join_pairs(parts))


def whole_shards(count: int, size: int) -> int:
    """Round a number of pairs up to whole shards: more may be asked for later, and those that are there stay good."""
    return -(-count // size) * size


def join_pairs(parts: Sequence[Pairs]) -> Pairs:
    """Put sets of pairs behind each other: teacher-made and real ones may be mixed.

    Args:
        parts: One or more sets, all of one latent shape.
    """
    noise = None
    if any(part.found_noise is not None for part in parts):
        noise = torch.cat(
            [
                torch.zeros_like(part.latents) if part.found_noise is None else part.found_noise
                for part in parts
            ]
        )
    return Pairs(
        tuple(prompt for part in parts for prompt in part.prompts),
        torch.cat([part.seeds for part in parts]),
        torch.cat([part.latents for part in parts]),
        noise,
    )


def select_pairs(pairs: Pairs, rows: Sequence[int]) -> Pairs:
    """Take some pairs out of a set, in the given order.

    Args:
        pairs: The set.
        rows: Which, 0 or more.
    """
    some = list(rows)
    noise = None if pairs.found_noise is None else pairs.found_noise[some]
    return Pairs(tuple(pairs.prompts[row] for row in some), pairs.seeds[some], pairs.latents[some], noise)
