"""The settings of a training run: one frozen dataclass, checked when it is built."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from generative.coding import LabelCoding
from generative.noise_schedule import Prediction
from generative.walks import Sampler
from learn import LoopSettings

__all__ = [
    "DDPMConfig",
    "DenoiserConfig",
    "DiffusionConfig",
    "MaterialConfig",
    "PatchConfig",
    "SamplingConfig",
]

# What torch takes as a seed is a number of 64 bits with a sign.
MOST_SEED = 2**63 - 1
MOST_TIMESTEPS = 1_000_000

# A diffusion model learns slowly and gains from a long memory of its weights.
LONG_TRAINING = LoopSettings(
    steps=1000,
    learning_rate=2e-4,
    warmup_steps=100,
    schedule="constant",
    weight_decay=0.01,
    ema_decay=0.9999,
    checkpoint_every=500,
    keep_checkpoints=2,
    log_every=10,
)


@dataclass(frozen=True)
class MaterialConfig:
    """Where the labelled volume comes from: a file or a recipe, exactly one of them.

    Parameters
    ----------
    volume : Path, optional
        A labelled volume that `volume.read` can read; labels 0, 1, … with 0 = pore.
    recipe : dict, optional
        Keywords of `synth.recipes.build_structure`, e.g. ``{generator: sphere_pack, shape: [64, 64, 64], …}``.
    phases : tuple of str, optional
        Names indexed by label; they win over names in the file.
    voxel_size_um : tuple of three floats, optional
        ``(z, y, x)`` in µm; wins over the file's.
    """

    volume: Path | None = None
    recipe: dict[str, Any] | None = None
    phases: tuple[str, ...] | None = None
    voxel_size_um: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if (self.volume is None) == (self.recipe is None):
            raise ValueError("the material needs exactly one of 'volume' (a labelled file) and 'recipe' (a structure)")


@dataclass(frozen=True)
class PatchConfig:
    """How patches are cut from the material.

    Parameters
    ----------
    size : tuple of three ints
        Patch shape ``(z, y, x)`` in voxels; ``(1, y, x)`` for a planar network.
    stride : int
        Spacing of the patch corners in voxels, the same along every axis.
    symmetry : {"none", "flips", "transverse", "cubic"}
        Which mirrored and turned copies the material allows: none; mirror images; these and exchange of y and x
        (z is special: layered or cut material); these and every exchange of axes (isotropic material).
        Axes are exchanged only where the patch is equally long along them.
    """

    size: tuple[int, int, int] = (32, 32, 32)
    stride: int = 8
    symmetry: Literal["none", "flips", "transverse", "cubic"] = "none"

    def __post_init__(self) -> None:
        _check_positive(size=min(self.size), stride=self.stride)


@dataclass(frozen=True)
class DenoiserConfig:
    """Size of the network; see `generative.Denoiser`.

    Parameters
    ----------
    channels, blocks_per_level, attention_levels, attention_heads, stem, planar
        As in `generative.Denoiser`.
    told_fractions : float
        Share of the training patches whose volume fractions the network is told; 0 makes one that cannot be told.
        The rest (a tenth is usual) teaches it to do without, which guidance compares with.
    linear : bool
        Show the network the best linear estimate of the clean volume, which it then only corrects; see
        `generative.linear_estimate.LinearEstimate`. Needs ``diffusion.prediction_type: sample``.
    gradient_checkpointing : bool
        Forget what lies between the blocks and compute it again on the way back: less memory, a third more time.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    blocks_per_level: int = 2
    attention_levels: int = 1
    attention_heads: int = 4
    stem: int = 1
    planar: bool = False
    told_fractions: float = 0.0
    linear: bool = False
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        _check_positive(
            channels=min(self.channels, default=0),
            blocks_per_level=self.blocks_per_level,
            attention_heads=self.attention_heads,
            stem=self.stem,
        )
        if self.channels[0] < 4:
            raise ValueError(f"'channels' is {list(self.channels)}; the first must be 4 or more, to hold the time step")
        if not 0 <= self.attention_levels <= len(self.channels):
            raise ValueError(
                f"'attention_levels' is {self.attention_levels}; give 0 to {len(self.channels)}, the number of levels"
            )
        for width in self.channels[len(self.channels) - self.attention_levels :]:
            if width % self.attention_heads:
                raise ValueError(
                    f"'attention_heads' is {self.attention_heads}, which does not divide the {width} channels of a "
                    "level that attends; change either"
                )
        if not 0 <= self.told_fractions < 1:
            raise ValueError(f"'told_fractions' is {self.told_fractions}; give a number from 0 up to, not including, 1")


@dataclass(frozen=True)
class DiffusionConfig:
    """The forward process and the loss.

    Parameters
    ----------
    timesteps : int
        T.
    prediction_type : {"v_prediction", "epsilon", "sample"}
        What the network predicts: velocity, noise or the clean volume.
    noise_scale : float
        See `generative.cosine_schedule`; 1 is the published schedule.
    min_snr : float, optional
        See `generative.NoiseSchedule.loss_weights`; without it every prediction weighs alike.
    """

    timesteps: int = 1000
    prediction_type: Prediction = "v_prediction"
    noise_scale: float = 1.0
    min_snr: float | None = None

    def __post_init__(self) -> None:
        _check_positive(timesteps=self.timesteps, noise_scale=self.noise_scale)
        if self.timesteps > MOST_TIMESTEPS:
            raise ValueError(f"'timesteps' is {self.timesteps}; give at most {MOST_TIMESTEPS}")
        if self.min_snr is not None:
            _check_positive(min_snr=self.min_snr)


@dataclass(frozen=True)
class SamplingConfig:
    """The volumes made at the end of the run, and now and then on the way.

    Parameters
    ----------
    count, steps, sampler
        How many, and how; see `generative.StructurePipeline`.
    shape : three ints, optional
        The patch's unless given.
    calibrate : int
        Volumes by which the model's offsets are found at the end of the run: constants added to the scores of the
        phases so that the mean fractions are the material's. 0: none.
    watched : int
        Volumes made at each of the loop's ``monitor_every`` steps, whose densities and S2 are compared with the
        material's in the log.
    """

    count: int = 4
    steps: int = 25
    shape: tuple[int, int, int] | None = None
    sampler: Sampler = "dpm++"
    calibrate: int = 0
    watched: int = 4

    def __post_init__(self) -> None:
        _check_positive(count=self.count, steps=self.steps, shape=min(self.shape or (1,)), watched=self.watched)
        if self.calibrate < 0:
            raise ValueError(f"'calibrate' is {self.calibrate}; give 0 or more volumes")


@dataclass(frozen=True)
class DDPMConfig:
    """Everything that a training run depends on.

    Raises
    ------
    ValueError
        If a value is out of its range, or if the patch does not fit the network's factor.
    """

    material: MaterialConfig
    out: Path
    seed: int = 0
    patches: PatchConfig = field(default_factory=PatchConfig)
    coding: LabelCoding = field(default_factory=LabelCoding)
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    training: LoopSettings = LONG_TRAINING
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MOST_SEED:
            raise ValueError(f"'seed' is {self.seed}; it must not be negative, nor above {MOST_SEED}")
        self._check_patch()
        if self.denoiser.linear and self.diffusion.prediction_type != "sample":
            raise ValueError(
                f"'diffusion.prediction_type' is '{self.diffusion.prediction_type}'; with 'denoiser.linear' it must be "
                "'sample'"
            )
        if self.sampling.steps > self.diffusion.timesteps:
            raise ValueError(
                f"'sampling.steps' is {self.sampling.steps}, more than 'diffusion.timesteps' {self.diffusion.timesteps}"
            )

    def _check_patch(self) -> None:
        factor = self.denoiser.stem * 2 ** (len(self.denoiser.channels) - 1)
        across = self.patches.size[1:] if self.denoiser.planar else self.patches.size
        if any(length % factor for length in across):
            raise ValueError(
                f"'patches.size' is {list(self.patches.size)}; with {len(self.denoiser.channels)} levels and stem "
                f"{self.denoiser.stem} every length must be a multiple of {factor}"
            )
        if not self.denoiser.planar:
            return
        depth, height, width = self.patches.size
        if depth != 1 or height != width:
            raise ValueError(f"'patches.size' is {list(self.patches.size)}; a planar network learns squares [1, n, n]")
        if self.coding.kind != "one_hot":
            raise ValueError(
                f"'coding.kind' is '{self.coding.kind}'; a planar network learns 'one_hot', because a picture does not "
                "show how far the border is in the volume"
            )


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"'{name}' is {value}; it must be positive and finite")
