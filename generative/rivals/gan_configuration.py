"""The settings of an adversarial training run: one frozen dataclass, checked when it is built."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from generative.configuration import MaterialConfig, PatchConfig
from generative.rivals.critics import Critic
from generative.rivals.dcgan import dcgan_generator
from generative.rivals.slicegan import slicegan_generator
from learn import LoopSettings

__all__ = ["DCGANConfig", "GANConfig", "GeneratorConfig", "MicrographConfig", "SliceGANConfig", "VolumesConfig"]

# Adversaries learn at a steady, slow pace, without decay; the clip only catches accidents.
STEADY_TRAINING = LoopSettings(
    steps=1000,
    batch_size=8,
    learning_rate=2e-4,
    warmup_steps=0,
    schedule="constant",
    weight_decay=0.0,
    gradient_clip=100.0,
    ema_decay=0.99,
    checkpoint_every=500,
    log_every=10,
)
# SliceGAN is taught with overlapping sites in the middle of the volume, which takes four.
FEWEST_SITES = 4


@dataclass(frozen=True)
class MicrographConfig:
    """Labelled 2-D images to learn a volume from.

    Parameters
    ----------
    images : tuple of one to three paths
        Files that `volume.read` can read, labels 0, 1, … with 0 = pore: the planes normal to z, to y and to x. One is
        taken for all three, of two the second for both y and x. Rows and columns are (y, x), (z, x) and (z, y). A
        file with several pages holds several such planes.
    phases : tuple of str, optional
        Names indexed by label; they win over names in the files.
    voxel_size_um : tuple of three floats, optional
        ``(z, y, x)`` in µm of the volumes that are made.
    """

    images: tuple[Path, ...]
    phases: tuple[str, ...] | None = None
    voxel_size_um: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.images) <= 3:
            raise ValueError(
                f"'images' has {len(self.images)} entries; give one image for all directions, two (z; y and x) or "
                "three (z, y, x)"
            )


@dataclass(frozen=True)
class GeneratorConfig:
    """Size of the generator: numbers at each site of the latent, and channels between its layers."""

    latent_channels: int = 32
    widths: tuple[int, ...] = (256, 128, 64, 32)

    def __post_init__(self) -> None:
        _check_positive(latent_channels=self.latent_channels, widths=min(self.widths, default=0))


@dataclass(frozen=True)
class DCGANConfig:
    """The discriminator of a DCGAN and how it learns.

    Parameters
    ----------
    widths : tuple of int
        Channels after each halving of the resolution.
    real_label : float
        What the discriminator should say of real volumes; below 1 is one-sided label smoothing.
    learning_rate : float, optional
        Of the discriminator; the generator's unless given.
    betas : tuple of two floats
        AdamW's, of both.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128)
    real_label: float = 0.9
    learning_rate: float | None = None
    betas: tuple[float, float] = (0.5, 0.999)

    def __post_init__(self) -> None:
        _check_positive(widths=min(self.widths, default=0))
        if not 0.5 < self.real_label <= 1:
            raise ValueError(f"'real_label' is {self.real_label}; give a number above 0.5, up to 1")


@dataclass(frozen=True)
class SliceGANConfig:
    """The critics of a SliceGAN and how they learn.

    Parameters
    ----------
    widths : tuple of int
        Channels after each halving of the resolution.
    critics : {"shared", "per direction"}
        One for all directions (isotropic material) or one for each.
    slices : int
        Slices of each made volume, and real planes for each, that are judged along each axis.
    penalty : float
        λ of the gradient penalty.
    critic_steps : int
        Steps of the critics for one of the generator. The steps of the loop are those of the critics.
    learning_rate : float, optional
        Of the critics; the generator's unless given.
    betas : tuple of two floats
        AdamW's, of all.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    critics: Literal["shared", "per direction"] = "shared"
    slices: int = 16
    penalty: float = 10.0
    critic_steps: int = 5
    learning_rate: float | None = None
    betas: tuple[float, float] = (0.0, 0.9)

    def __post_init__(self) -> None:
        _check_positive(
            widths=min(self.widths, default=0), slices=self.slices, penalty=self.penalty, critic_steps=self.critic_steps
        )


@dataclass(frozen=True)
class VolumesConfig:
    """The volumes made at the end of the run, and those that are watched; `shape` is the patch's unless given."""

    count: int = 4
    shape: tuple[int, int, int] | None = None
    watched: int = 4

    def __post_init__(self) -> None:
        _check_positive(count=self.count, shape=min(self.shape or (1,)), watched=self.watched)


@dataclass(frozen=True)
class GANConfig:
    """Everything that an adversarial training run depends on.

    Parameters
    ----------
    method : {"dcgan", "slicegan"}
        Which of the sections `dcgan` and `slicegan` counts.
    out : Path
        Run folder.
    material, micrographs
        Where to learn from, exactly one of them; a DCGAN needs a volume.
    seed : int
        That everything random derives from.
    patches : PatchConfig
        `size` is that of the volumes made during training; a SliceGAN takes the planes of that size.
    generator, dcgan, slicegan, training, sampling
        See their classes.

    Raises
    ------
    ValueError
        If a value is out of its range, or if the patch does not fit the networks.
    """

    method: Literal["dcgan", "slicegan"]
    out: Path
    material: MaterialConfig | None = None
    micrographs: MicrographConfig | None = None
    seed: int = 0
    patches: PatchConfig = field(default_factory=lambda: PatchConfig(size=(64, 64, 64)))
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    dcgan: DCGANConfig = field(default_factory=DCGANConfig)
    slicegan: SliceGANConfig = field(default_factory=SliceGANConfig)
    training: LoopSettings = STEADY_TRAINING
    sampling: VolumesConfig = field(default_factory=VolumesConfig)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"'seed' is {self.seed}; it must not be negative")
        self._check_source()
        self._check_size()

    def _check_source(self) -> None:
        if (self.material is None) == (self.micrographs is None):
            raise ValueError("give exactly one of 'material' (a labelled volume or a recipe) and 'micrographs'")
        if self.method == "dcgan" and self.micrographs is not None:
            raise ValueError("a DCGAN learns from volumes, not from 'micrographs'; set method to slicegan")
        if self.micrographs is not None and len(self.micrographs.images) > 1 and self.slicegan.critics == "shared":
            raise ValueError(
                "'micrographs.images' differ by direction, but 'slicegan.critics' is shared; set it to 'per direction'"
            )

    def _check_size(self) -> None:
        make = dcgan_generator if self.method == "dcgan" else slicegan_generator
        net = make(2, latent_channels=1, widths=(1,) * len(self.generator.widths))
        fewest = 1 if self.method == "dcgan" else FEWEST_SITES
        size = self.patches.size
        if any(net.length(max(fewest, net.sites(n))) != n for n in size):
            accepted = ", ".join(str(net.length(fewest + i)) for i in range(4))
            raise ValueError(
                f"'patches.size' is {list(size)}; with {len(self.generator.widths)} entries in 'generator.widths' a "
                f"{self.method} makes lengths of {accepted}, …"
            )
        widths = self.dcgan.widths if self.method == "dcgan" else self.slicegan.widths
        least = Critic.smallest(widths)
        if min(size) < least:
            raise ValueError(
                f"'patches.size' is {list(size)}; with {len(widths)} entries in '{self.method}.widths' every length "
                f"must be at least {least}"
            )


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"'{name}' is {value}; it must be positive")
