"""Boolean model: balls placed independently of each other, fitted to a volume fraction and two-point correlation."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from evaluate import minkowski
from generative.decoding import phase_counts
from generative.loading import ModelCard, read_card, write_card
from generative.patches import read_material
from generative.requests import Request, check_request, sample_seed
from generative.rivals.ball_scales import lower_scales
from generative.rivals.pair_covariance import PairCovariance, measure_pairs
from synth.exact_counts import highest
from synth.stamping import stamp_spheres

__all__ = ["BooleanPipeline", "fit_boolean"]

# Radii that may take part, from 1 voxel on, each larger than the one before by this factor.
RADIUS_STEP = 1.06
# S2 that has fallen by a from its value at 0 is wanted to within a few times (a + this), as a share of the whole fall.
NEAR = 0.005
# The two choices of the balls' phase fit S2 equally well if their errors differ by less than this.
SAME_S2 = 0.01
# A volume of either is then drawn, no longer than this along any axis.
LARGEST_TRIAL = 128
# Balls made at a time.
BATCH = 2**20
# By how much balls may grow at first where a fraction is prescribed.
GROWTH = 1.25

Array = NDArray[np.float64]
Shape = tuple[int, int, int]


class BooleanPipeline:
    """Volumes in which one phase is the union of balls whose centres are a Poisson process.

    Parameters
    ----------
    card : ModelCard
        Of kind ``boolean``. Its settings are ``grains`` (label of the balls), ``radii_vox`` and ``intensities`` (mean
        number of centres of balls of each radius in a voxel), and of the fit ``s2_error`` (see
        `generative.rivals.pair_covariance.PairCovariance.error_of`), ``s2_error_of_other``, that of the fit with
        balls of the other phase, and ``chosen_by``, what decided between the two: ``s2`` or ``mean_curvature``.
    """

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def __call__(
        self,
        shape: Sequence[int] | None = None,
        *,
        count: int = 1,
        steps: int | None = None,
        seed: int = 0,
        fractions: Sequence[float] | None = None,
        periodic: bool = False,
        first: int = 0,
    ) -> NDArray[np.uint8]:
        """Draw volumes.

        Parameters
        ----------
        shape : three ints, optional
            ``(z, y, x)`` in voxels; by default that of the material.
        count : int
            How many.
        steps : int, optional
            Of no meaning here.
        seed, first : int
            Volume i = `first`, `first` + 1, … depends on `seed` and i alone, to the byte.
        fractions : sequence of float, optional
            Volume fraction of each phase, met to within one voxel: balls of the model's radii are drawn in the number
            that leaves this fraction on average, and all radii are then multiplied by the one factor, close to 1, at
            which it is exact. By default the fractions vary from volume to volume as they do between windows of an
            unlimited medium.
        periodic : bool
            Make opposite faces fit together. A ball wider than the box counts once, not again at its images.

        Returns
        -------
        ndarray of uint8, shape (count, Z, Y, X)

        Raises
        ------
        ValueError
            As `generative.requests.check_request`.

        Notes
        -----
        Balls whose centres lie outside the window count if they reach into it, so that the border is like the
        inside. The free draw needs the labels and a few million centres, the exact one about 10 bytes a voxel.
        """
        asked = check_request(
            shape, default=self.card.patch, n_phases=2, count=count, seed=seed, first=first, fractions=fractions,
            periodic=periodic,
        )  # fmt: skip
        settings = self.card.settings or {}
        grains, balls = settings["grains"], _Balls(np.array(settings["radii_vox"]), np.array(settings["intensities"]))
        volumes = np.zeros((asked.count, *asked.shape), np.uint8)
        for i, labels in enumerate(volumes):
            drawn = sample_seed(asked.seed, asked.first + i)
            if asked.fractions is None:
                for centres, radii in _draw_balls(balls, asked.shape, periodic=asked.periodic, seed=drawn):
                    stamp_spheres(labels, centres, radii, periodic=asked.periodic)
            else:
                wanted = phase_counts(asked.fractions, n_phases=2, voxels=labels.size)[grains]
                labels[_exact_grains(balls, asked, int(wanted), seed=drawn)] = 1
        return volumes if grains == 1 else np.subtract(1, volumes, out=volumes)

    def to(self, device: Any) -> "BooleanPipeline":
        """Return the model itself; it works on the processor wherever it is asked to go."""
        return self

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``material.json``, which holds the whole model, into a folder."""
        write_card(folder, self.card)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "BooleanPipeline":
        """Read what `save_pretrained` wrote.

        Raises
        ------
        ValueError
            If the file is missing or does not hold such a model.
        """
        card = read_card(folder)
        settings = card.settings or {}
        try:
            radii, intensities = (np.array(settings[name], float) for name in ("radii_vox", "intensities"))
            fits = radii.ndim == 1 and radii.shape == intensities.shape and len(radii) > 0
            if not (fits and len(card.phases) == 2 and settings["grains"] in (0, 1)):
                raise ValueError("two phases, grains 0 or 1, and as many intensities as radii are needed")
            if not (np.isfinite(radii) & np.isfinite(intensities) & (radii > 0) & (intensities > 0)).all():
                raise ValueError("radii and intensities must be above 0")
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"'{folder}' does not hold a complete Boolean model: {error}") from error
        return cls(card)


class _Balls(NamedTuple):
    """Radii in voxels, and the mean number of centres of each in a voxel."""

    radii: Array
    intensities: Array

    def void(self) -> float:
        """Return the fraction of space that they leave on average."""
        return float(np.exp(-(self.intensities * 4 / 3 * np.pi * self.radii**3).sum()))

    def void_pairs(self, lengths: Array) -> Array:
        """Return the probability that two points at a distance are both in the void."""
        exponents = (intensity * _overlap(lengths, radius) for radius, intensity in zip(*self, strict=True))
        s2: Array = self.void() ** 2 * np.exp(sum(exponents, np.zeros_like(lengths)))
        return s2


def _draw_balls(
    balls: _Balls, shape: Shape, *, periodic: bool, seed: int, growth: float = 1.0
) -> Iterator[tuple[Array, Array]]:
    """Yield centres and radii of all balls that reach into the box once their radii are multiplied by `growth`."""
    rng = np.random.default_rng(seed)
    sides = np.array(shape, float)
    for radius, intensity in zip(balls.radii, balls.intensities, strict=True):
        margin = 0.0 if periodic else growth * radius
        left = int(rng.poisson(intensity * np.prod(sides + 2 * margin)))
        while left > 0:
            number = min(left, BATCH)
            yield rng.random((number, 3)) * (sides + 2 * margin) - margin, np.full(number, radius)
            left -= number


def _exact_grains(balls: _Balls, asked: Request, wanted: int, *, seed: int) -> NDArray[np.bool_]:
    """Mark exactly `wanted` voxels: the balls of a Boolean model, all grown or shrunk by one factor."""
    voxels = int(np.prod(asked.shape))
    if wanted in (0, voxels):
        return np.full(asked.shape, wanted > 0)
    thinned = balls._replace(intensities=balls.intensities * np.log1p(-wanted / voxels) / np.log(balls.void()))
    growth = GROWTH
    while True:
        scales = np.full(asked.shape, np.inf, np.float32)
        drawn = _draw_balls(thinned, asked.shape, periodic=asked.periodic, seed=seed, growth=growth)
        for centres, radii in drawn:
            lower_scales(scales, centres, radii, most=growth, periodic=asked.periodic)
        if np.count_nonzero(scales <= growth) >= wanted:
            return highest(np.negative(scales, out=scales), wanted)
        # A small box may hold no ball at all; sooner or later one reaches it.
        growth *= 2


def fit_boolean(
    labels: ArrayLike,
    *,
    phases: Sequence[str] | None = None,
    voxel_size_um: tuple[float, float, float] | None = None,
) -> BooleanPipeline:
    r"""Fit a Boolean model of balls to the volume fraction and the two-point correlation of a material.

    Parameters
    ----------
    labels : Volume, Structure or array_like of int, shape (Z, Y, X)
        Two phases, labels 0 and 1; at least 16 voxels along every axis.
    phases : sequence of str, optional
        Names indexed by label; by default the volume's own.
    voxel_size_um : tuple of three floats, optional
        ``(z, y, x)`` in µm; by default the volume's own. It is written on the card; the fit is in voxels.

    Returns
    -------
    BooleanPipeline

    Raises
    ------
    ValueError
        If the labels are not such a volume.

    Notes
    -----
    Two points at a distance r are both in the void, which fills q, with the probability [1]_, [2]_

    .. math:: S_2(r) = q^2 \exp \sum_j θ_j K_j(r), \qquad
        K_j(r) = \frac{4π}{3} R_j^3 \left(1 - \frac{3r}{4R_j} + \frac{r^3}{16R_j^3}\right), \quad r < 2R_j

    so that ln(S2 / q²) is linear in the intensities θ_j. These are found by least squares without negative values, on
    radii from 1 voxel to the reach of the correlation, 6 % apart. Squares are weighted by what they mean for S2,
    relative to how far it has fallen, so that the surface comes out right. The intensities are then scaled to the
    measured q.

    Both phases are tried as the balls. If S2 of one fit is nearer by more than 0.01 of the fall from q to q², that one
    is kept. Often S2 cannot tell: at q = 1/2 the two fits are the same, and balls of many sizes imitate the space
    between equal ones. Then the mean curvature decides, which tells what is convex from what surrounds it: that of a
    drawn volume, because voxels cut up the crevices between balls, which Miles' formula does not know.

    What such a model cannot match: S2 of its void never falls below q² (no order, no distance kept), and the
    Euler density and mean curvature follow from the radii.

    References
    ----------
    .. [1] G. Matheron, "Random Sets and Integral Geometry", Wiley (1975).
    .. [2] S. Torquato, "Random Heterogeneous Materials", Springer (2002), section 5.1.
    """
    material = read_material(labels, phases=phases, voxel_size_um=voxel_size_um)
    if len(material.phases) != 2:
        raise ValueError(
            f"the volume has {len(material.phases)} phases; a Boolean model has two, balls and the space between: "
            "merge phases, or fit a Gaussian model"
        )
    pairs = measure_pairs(material, isotropic=True)
    fitted = [_fit_balls(pairs, void=1 - grains) for grains in (0, 1)]
    errors = [pairs.error_of({1 - grains: balls.void_pairs(pairs.distance)})[0] for grains, balls in enumerate(fitted)]
    told_by_s2 = abs(errors[0] - errors[1]) > SAME_S2
    models = []
    for grains, balls in enumerate(fitted):
        settings = {
            "grains": grains,
            "chosen_by": "s2" if told_by_s2 else "mean_curvature",
            "radii_vox": balls.radii.tolist(),
            "intensities": balls.intensities.tolist(),
            "reach_vox": pairs.reach(),
            # S2 of two phases differ by a constant.
            "s2_error": [errors[grains]] * 2,
            "s2_error_of_other": errors[1 - grains],
        }
        z, y, x = material.labels.shape
        card = ModelCard("boolean", material.phases, material.voxel_size_um, patch=(z, y, x), settings=settings)
        models.append(BooleanPipeline(card))
    mismatch = errors if told_by_s2 else [_curvature_mismatch(model, material.labels) for model in models]
    return models[int(np.argmin(mismatch))]


def _curvature_mismatch(model: BooleanPipeline, labels: NDArray[np.uint8]) -> float:
    """Compare the mean curvature of a volume of the model with that of the material, both measured on voxels."""
    drawn = model([min(n, LARGEST_TRIAL) for n in labels.shape], seed=0)[0]
    return abs(minkowski(drawn == 0).mean_curvature - minkowski(labels == 0).mean_curvature)


def _fit_balls(pairs: PairCovariance, *, void: int) -> _Balls:
    """Find the balls whose void is that phase."""
    q, reach = float(pairs.fractions[void]), max(pairs.reach(), 2)
    lengths, places = np.unique(pairs.distance, return_index=True)
    lengths, places = lengths[lengths <= reach], places[lengths <= reach]
    s2 = np.maximum(pairs.of_sets([void]).ravel()[places], 1e-6 * q * q)
    radii = RADIUS_STEP ** np.arange(int(np.log(reach) / np.log(RADIUS_STEP)) + 1)
    overlaps = np.array([_overlap(lengths, radius) for radius in radii]).T
    fallen = (q - s2) / (q - q * q)
    # The farther, the more lengths there are to a voxel.
    weights = s2 / (q - q * q) / (fallen + NEAR) / np.sqrt(np.maximum(lengths, 1))
    intensities, _ = nnls(overlaps * weights[:, None], np.log(s2 / q**2) * weights)
    used = intensities > 0
    balls = _Balls(radii[used], intensities[used])
    return balls._replace(intensities=balls.intensities * np.log(q) / np.log(balls.void()))


def _overlap(lengths: Array, radius: float) -> Array:
    """Return the volume that two balls of equal radius have in common, by the distance of their centres."""
    t = np.minimum(lengths / (2 * radius), 1)
    return 4 / 3 * np.pi * radius**3 * (1 - 1.5 * t + 0.5 * t**3)
