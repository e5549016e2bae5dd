"""The settings of a training run: one frozen dataclass, checked when it is built."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from learn import LoopSettings

__all__ = [
    "DDPMConfig",
    "DenoiserConfig",
    "DiffusionConfig",
    "MaterialConfig",
    "PatchConfig",
    "SamplingConfig",
]

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
        Patch shape ``(z, y, x)`` in voxels.
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
    """Size of the network; see `generative.Denoiser`."""

    channels: tuple[int, ...] = (32, 64, 128)
    blocks_per_level: int = 2
    attention_levels: int = 1
    attention_heads: int = 4
    stem: int = 1

    def __post_init__(self) -> None:
        _check_positive(
            channels=min(self.channels, default=0),
            blocks_per_level=self.blocks_per_level,
            attention_heads=self.attention_heads,
            stem=self.stem,
        )


@dataclass(frozen=True)
class DiffusionConfig:
    """Length of the cosine schedule and what the network predicts; see `generative.make_scheduler`."""

    timesteps: int = 1000
    prediction_type: Literal["v_prediction", "epsilon", "sample"] = "v_prediction"

    def __post_init__(self) -> None:
        _check_positive(timesteps=self.timesteps)


@dataclass(frozen=True)
class SamplingConfig:
    """The volumes made at the end of the run; `shape` is the patch's unless given."""

    count: int = 4
    steps: int = 50
    shape: tuple[int, int, int] | None = None
    sampler: Literal["ddim", "ddpm"] = "ddim"

    def __post_init__(self) -> None:
        _check_positive(count=self.count, steps=self.steps, shape=min(self.shape or (1,)))


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
    denoiser: DenoiserConfig = field(default_factory=DenoiserConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    training: LoopSettings = LONG_TRAINING
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"'seed' is {self.seed}; it must not be negative")
        factor = self.denoiser.stem * 2 ** (len(self.denoiser.channels) - 1)
        if any(length % factor for length in self.patches.size):
            raise ValueError(
                f"'patches.size' is {list(self.patches.size)}; with {len(self.denoiser.channels)} levels and stem "
                f"{self.denoiser.stem} every length must be a multiple of {factor}"
            )
        if self.sampling.steps > self.diffusion.timesteps:
            raise ValueError(
                f"'sampling.steps' is {self.sampling.steps}, more than 'diffusion.timesteps' {self.diffusion.timesteps}"
            )


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"'{name}' is {value}; it must be positive")
