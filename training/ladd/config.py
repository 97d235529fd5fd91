"""What a LADD run's config file says, one dataclass per table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TRAIN_TIMESTEPS = 1000
"""N: what every base is trained with, Stable Diffusion's number."""


@dataclass(frozen=True)
class PairsConfig:
    """The teacher's pictures that the student learns from."""

    count: int = 12000
    """Pairs to train on."""
    held_out: int = 512
    """Pairs that are never trained on: the gate is measured on them."""
    steps: int = 10
    """Sampling steps of the teacher (DPM-Solver++ 2M)."""
    guidance_scale: float = 3.0
    """Classifier-free guidance of the teacher; 1 = none. The paper: 7.5."""
    batch: int = 64
    """Pairs sampled, or scenes inverted, at a time."""
    shard_size: int = 100
    """Pairs per file on the disk; whole files are made."""


@dataclass(frozen=True)
class RealConfig:
    """Real pictures beside the teacher's, with the noise that its flow leads back to (`training.ladd.real_pairs`)."""

    scenes: int = 0
    """Scenes, or pictures of ``[data] library``, to invert; 0 = teacher-made pairs alone. What follows down to
    ``held_out``, and ``library``, is of scenes alone."""
    lent_variants: int = 2
    """A scene gives a pair as it is, one with rare things put in, and so many with concepts that the base never saw."""
    invented_variants: int = 0
    """And so many with things that were invented for it (`training.data.inventions`)."""
    inventions: int = 4096
    """How many different ones."""
    held_out: int = 256
    """Scenes with library-only things, never trained on: the gate asks for them too."""
    steps: int = 5
    """Midpoint steps of the inversion; each runs the teacher twice."""
    fresh_noise: float = 0.3
    """Amplitude of new noise that each look at a real pair mixes into the one found, in [0, 1): a found noise is not
    quite Gaussian, and always the same."""
    library: int = 4096
    """Captioned scenes of those unknown things that training looks up beside the family's library."""


@dataclass(frozen=True)
class DataConfig:
    """The user's own files, in place of the scenes of the family's world."""

    library: str = ""
    """Folder of captioned pictures (`training.data.picture_folder`): the references, and with ``[real] scenes`` real
    pairs too. Empty: the family's world."""
    prompts: str = ""
    """Text file, one prompt a line: the teacher draws them."""
    pairs: str = ""
    """Folder that ``python -m training.synthesize`` made, in place of prompts."""
    names: str = ""
    """Text file of the names that may be masked, one a line, the plural behind a comma where it is irregular. Empty:
    guessed from the library's captions."""

    def __post_init__(self) -> None:
        """Refuse a library without prompts, and prompts without a library."""
        if bool(self.library) != bool(self.prompts or self.pairs) or (self.prompts and self.pairs):
            raise ValueError(
                f"library is {self.library!r}, prompts {self.prompts!r}, pairs {self.pairs!r}; give library and either "
                "prompts or pairs"
            )


@dataclass(frozen=True)
class RetrievalConfig:
    """Which references a prompt gets in training."""

    references: int = 4
    """K: a prompt gets 1 to K references; also the default number at run time."""
    drop_share: float = 0.1
    """Share of the prompts that get no reference."""
    wrong_share: float = 0.1
    """Share of the prompts that get random references."""
    candidates: int = 12
    """Neighbours kept per prompt; training chooses among the first, the rest replaces near-duplicates."""
    near_duplicate: float = 0.9
    """A neighbour whose centred latents have this cosine with the target, or more, is never shown."""
    reference_timestep: int = 0
    """Timestep in [0, N) at which reference features are taken. The paper: 0."""
    reference_caption: Literal["caption", "empty"] = "empty"
    """Prompt that reference features are taken with; "empty" needs none anew for masked prompts."""
    reference_pool: int = 1
    """Side of the square of h-space cells whose mean is one reference token; 2 keeps a quarter of the tokens."""
    feature_codec: Literal["int8", "float32"] = "int8"
    """How reference features are stored; int8 is what the runtime reads."""
    low_percentile: float = 50.0
    """lambda is 0 at this percentile of the cosines of prompts with random captions."""
    high_percentile: float = 50.0
    """lambda is 1 at this percentile of the cosines of queries with their first hits."""


@dataclass(frozen=True)
class MaskingConfig:
    """Made-up names, so that references are needed."""

    share: float = 0.45
    """Share of the prompts with their own references in which names of things become made-up words, in the
    captions of the references too."""


@dataclass(frozen=True)
class StudentConfig:
    """What is trained."""

    lora_rank: int = 16
    """Rank of the LoRA on the decoder."""
    lora_alpha: float = 16.0
    """Scale of the LoRA: B @ A counts alpha / rank times."""
    attention_heads: int = 6
    """Heads of the adapter's attentions; divides the channels of h. SD-2.1: 20."""
    norm_groups: int = 32
    """Groups of the adapter's GroupNorm; divides the channels of h."""


@dataclass(frozen=True)
class AlignmentConfig:
    """The adapter's lessons before LADD, in h-space alone (`training.ladd.alignment`)."""

    steps: int = 0
    """Optimiser steps; 0 = none."""
    batch: int = 64
    """Pairs a step."""
    learning_rate: float = 1e-3
    """AdamW's, of the adapter, at its peak."""
    beta: float = 0.1
    """Where the smooth-L1's square ends, latent units."""
    log_every: int = 250
    """Steps between two measurements on held-out pairs."""
    guide: float = 0.0
    """Weight of the guide's cross-entropy (`training.ladd.guide`); 0 = none. Only drawn scenes can guide."""


@dataclass(frozen=True)
class LossesConfig:
    """What the student is told."""

    smooth_l1: float = 1.0
    """Weight of the smooth-L1 distance to the teacher's latents of the same noise."""
    smooth_l1_beta: float = 1.0
    """Where the square ends, latent units."""
    perceptual: float = 1.0
    """Weight of the perceptual distance."""
    perceptual_network: Literal["teacher", "vgg", "none"] = "teacher"
    """Whose features it is taken in: the frozen teacher's, of latents; VGG16's, of decoded pictures; or none."""
    perceptual_weights: str = ""
    """VGG16's weights, for "vgg" alone: torchvision's state dict, .pth or .safetensors."""
    perceptual_timestep: int = 50
    """Timestep in [0, N) at which the teacher looks at the clean latents."""
    adversarial: float = 0.5
    """Weight of the adversarial loss after its ramp."""
    adversarial_ramp: int = 300
    """Steps over which it rises from 0: untrained heads say nothing but noise."""
    judged_share: float = 1.0
    """Share of a batch that the perceptual and the adversarial loss look at, each at its own end; 0.5 halves them."""
    misaligned: bool = True
    """Whether teacher latents with another prompt count as fakes."""
    head_width: int = 64
    """Channels inside each discriminator head."""

    def __post_init__(self) -> None:
        """Refuse weights without their network, and the network without its weights."""
        if (self.perceptual_network == "vgg") != bool(self.perceptual_weights):
            raise ValueError(
                f'perceptual_network is "{self.perceptual_network}", perceptual_weights "{self.perceptual_weights}"; '
                'give the weights with "vgg", and with nothing else'
            )


@dataclass(frozen=True)
class OptimiserConfig:
    """How the weights move."""

    steps: int = 2000
    """Optimiser steps, of the student and of the heads alike."""
    batch: int = 32
    """Pairs a step, 2 or more (the misaligned prompts come from the same batch)."""
    learning_rate: float = 5e-4
    """AdamW's, of adapter and LoRA, at its peak. The paper: 1e-5, for a base of 866 M parameters."""
    heads_learning_rate: float = 2e-4
    """AdamW's, of the discriminator's heads."""
    beta1: float = 0.9
    """AdamW's decay of the first moment, of adapter and LoRA."""
    heads_beta1: float = 0.0
    """AdamW's decay of the first moment, of the heads."""
    beta2: float = 0.99
    """AdamW's decay of the second moment, of both."""
    weight_decay: float = 0.01
    """AdamW's, per unit of learning rate."""
    warmup: int = 50
    """Steps over which the learning rates rise."""
    decay_share: float = 0.3
    """The last share of the steps, over which the learning rates fall to zero."""
    clip_norm: float = 1.0
    """Largest norm of a gradient."""
    ema: float = 0.998
    """Decay of the running mean of adapter and LoRA: what is kept."""


@dataclass(frozen=True)
class RunConfig:
    """Where and how often."""

    bf16: Literal["auto", "on", "off"] = "auto"
    """bfloat16 autocast in the networks; losses and latents stay float32. "auto": where it is faster (measured)."""
    frozen_dtype: Literal["float32", "bfloat16"] = "float32"
    """How teacher and base lie in memory; bfloat16 halves them and needs autocast. What is trained stays float32."""
    gradient_checkpointing: bool = False
    """Compute activations inside the U-Nets' blocks again in the backward pass: less memory, more time."""
    save_minutes: float = 3.0
    """Minutes between two checkpoints."""
    log_every: int = 10
    """Steps between two lines of metrics."""
    sheet_every: int = 250
    """Steps between two sample sheets."""
    sheet_rows: int = 8
    """Prompts on a sheet."""

    def __post_init__(self) -> None:
        """Refuse weights that nothing can be multiplied with."""
        if self.frozen_dtype == "bfloat16" and self.bf16 == "off":
            raise ValueError('frozen_dtype is "bfloat16" and bf16 "off"; set bf16 to "on" or "auto"')


@dataclass(frozen=True)
class LaddConfig:
    """A whole run."""

    family: str
    """Folder of the base family."""
    work_dir: str
    """Folder of pairs, checkpoints, logs and sheets."""
    seed: int
    """Everything random is drawn from it, 0 or more."""
    pairs: PairsConfig
    real: RealConfig
    data: DataConfig
    retrieval: RetrievalConfig
    masking: MaskingConfig
    student: StudentConfig
    alignment: AlignmentConfig
    losses: LossesConfig
    optimiser: OptimiserConfig
    run: RunConfig

    def __post_init__(self) -> None:
        """Refuse values that no run can use."""
        _check_shares(self)
        _check_timesteps(self)
        _check_percentiles(self)
        at_least: dict[str, tuple[float, float]] = {
            "seed": (self.seed, 0),
            "[pairs] count": (self.pairs.count, self.largest_batch),
            "[pairs] held_out": (self.pairs.held_out, 2),
            "[pairs] steps": (self.pairs.steps, 1),
            "[pairs] batch": (self.pairs.batch, 1),
            "[pairs] shard_size": (self.pairs.shard_size, 1),
            "[real] scenes": (self.real.scenes, 0),
            "[real] lent_variants": (self.real.lent_variants, 1),
            "[real] invented_variants": (self.real.invented_variants, 0),
            "[real] inventions": (self.real.inventions, 0),
            "[real] held_out": (self.real.held_out, 2),
            "[real] steps": (self.real.steps, 1),
            "[real] library": (self.real.library, 1),
            "[retrieval] references": (self.retrieval.references, 1),
            "[retrieval] candidates": (self.retrieval.candidates, self.retrieval.references),
            "[retrieval] reference_pool": (self.retrieval.reference_pool, 1),
            "[student] lora_rank": (self.student.lora_rank, 1),
            "[student] attention_heads": (self.student.attention_heads, 1),
            "[student] norm_groups": (self.student.norm_groups, 1),
            "[alignment] steps": (self.alignment.steps, 0),
            "[alignment] batch": (self.alignment.batch, 1),
            "[alignment] log_every": (self.alignment.log_every, 1),
            "[alignment] guide": (self.alignment.guide, 0),
            "[losses] adversarial_ramp": (self.losses.adversarial_ramp, 0),
            "[losses] head_width": (self.losses.head_width, 1),
            "[optimiser] steps": (self.optimiser.steps, 1),
            "[optimiser] batch": (self.optimiser.batch, 2),
            "[run] log_every": (self.run.log_every, 1),
            "[run] sheet_every": (self.run.sheet_every, 1),
            "[run] sheet_rows": (self.run.sheet_rows, 1),
        }
        for name, (value, least) in at_least.items():
            if value < least:
                raise ValueError(f"{name} is {value}; it must be {least} or more")
        if self.alignment.guide and (self.data.library or not self.real.scenes):
            raise ValueError(
                f"[alignment] guide is {self.alignment.guide}, and only drawn real pairs know what stands where; set "
                "it to 0, or [real] scenes to more than 0 in a family with a world"
            )

    @property
    def largest_batch(self) -> int:
        """Pairs that a step takes at most, of the lessons before LADD too."""
        return max(self.optimiser.batch, self.alignment.batch if self.alignment.steps else 0)


def _check_shares(config: LaddConfig) -> None:
    shares = {
        "[retrieval] drop_share": config.retrieval.drop_share,
        "[retrieval] wrong_share": config.retrieval.wrong_share,
        "[masking] share": config.masking.share,
        "[losses] judged_share": config.losses.judged_share,
        "[optimiser] decay_share": config.optimiser.decay_share,
        "[optimiser] ema": config.optimiser.ema,
    }
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it must be in [0, 1]")
    if not 0 <= config.real.fresh_noise < 1:
        raise ValueError(f"[real] fresh_noise is {config.real.fresh_noise}; it must be in [0, 1)")
    if config.retrieval.drop_share + config.retrieval.wrong_share > 1:
        raise ValueError(
            "[retrieval] drop_share + wrong_share is over 1; no prompt would get its own references"
        )


def _check_timesteps(config: LaddConfig) -> None:
    timesteps = {
        "[retrieval] reference_timestep": config.retrieval.reference_timestep,
        "[losses] perceptual_timestep": config.losses.perceptual_timestep,
    }
    for name, value in timesteps.items():
        if not 0 <= value < TRAIN_TIMESTEPS:
            raise ValueError(f"{name} is {value}; it must be in [0, {TRAIN_TIMESTEPS})")


def _check_percentiles(config: LaddConfig) -> None:
    percentiles = {
        "[retrieval] low_percentile": config.retrieval.low_percentile,
        "[retrieval] high_percentile": config.retrieval.high_percentile,
    }
    for name, value in percentiles.items():
        if not 0 <= value <= 100:
            raise ValueError(f"{name} is {value}; it must be in [0, 100]")
