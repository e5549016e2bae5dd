"""Gaussian model: level cuts of stationary Gaussian fields, fitted to volume fractions and two-point correlations."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.numpy import load_file, save_file
from scipy.special import ndtri

from generative.decoding import phase_counts
from generative.loading import ModelCard, read_card, write_card
from generative.patches import read_material
from generative.requests import Request, check_request, sample_seed
from generative.rivals.gaussian_cut import (
    FittedKernel,
    cut_covariance,
    draw_kernel_waves,
    fit_kernel,
    invert_covariance,
)
from generative.rivals.pair_covariance import PairCovariance, measure_pairs
from synth.gaussian_cuts import cut_waves
from synth.threads import in_threads

__all__ = ["GaussianPipeline", "fit_gaussian"]

WEIGHTS = "kernels.safetensors"
# There are n! / 2 orders of n phases.
MOST_PHASES = 6
# What earlier cuts leave of a pair may be nothing at all, as in a chessboard; it is then taken for this.
LEAST_LEFT = 1e-12

Array = NDArray[np.float64]


class GaussianPipeline:
    """Volumes whose phases are cut from independent Gaussian fields, one field after the other.

    The part of the first field below its level is the first phase in the model's order; in what is left the
    second field cuts off the second phase, and so on; the last phase is what remains.

    Parameters
    ----------
    card : ModelCard
        Of kind ``gaussian``. Its settings are ``order`` (labels, as they are cut), ``levels`` (of each field, in
        standard deviations), and of the fit ``reach_vox`` (where the correlation has died away), ``clipped`` (for each
        field the share of the variance at frequencies where the spectrum of the measured correlation is negative),
        ``correlation_error`` (root mean square change of each field's correlation that makes it possible) and
        ``s2_error`` (see `generative.rivals.pair_covariance.PairCovariance.error_of`).
    kernels : sequence of ndarray
        For each field, the kernel that turns white noise into it; see `generative.rivals.gaussian_cut`.
    """

    def __init__(self, card: ModelCard, kernels: Sequence[NDArray[np.float32]]) -> None:
        self.card, self.kernels = card, tuple(kernels)

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
            Volume fraction of each phase, met to within one voxel: each field is cut at the level that the volume
            itself asks for. By default the levels are the model's, and the fractions vary from volume to volume as
            they do between windows of an unlimited medium.
        periodic : bool
            Make opposite faces fit together.

        Returns
        -------
        ndarray of uint8, shape (count, Z, Y, X)

        Raises
        ------
        ValueError
            As `generative.requests.check_request`.

        Notes
        -----
        About 5 bytes a voxel, one field after the other; the fields are made plane by plane and never held.
        """
        asked = check_request(
            shape, default=self.card.patch, n_phases=len(self.card.phases), count=count, seed=seed, first=first,
            fractions=fractions, periodic=periodic,
        )  # fmt: skip
        volumes = np.empty((asked.count, *asked.shape), np.uint8)
        for i, labels in enumerate(volumes):
            self._fill(labels, asked, index=asked.first + i)
        return volumes

    def to(self, device: Any) -> "GaussianPipeline":
        """Return the model itself; it works on the processor wherever it is asked to go."""
        return self

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``material.json`` and ``kernels.safetensors`` into a folder."""
        write_card(folder, self.card)
        save_file({f"kernel_{i}": kernel for i, kernel in enumerate(self.kernels)}, Path(folder) / WEIGHTS)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "GaussianPipeline":
        """Read what `save_pretrained` wrote.

        Raises
        ------
        ValueError
            If a file is missing or does not belong to such a model.
        """
        card = read_card(folder)
        try:
            settings = card.settings or {}
            order, levels = [int(label) for label in settings["order"]], [float(level) for level in settings["levels"]]
            saved = load_file(Path(folder) / WEIGHTS)
            kernels = [np.ascontiguousarray(saved[f"kernel_{i}"], np.float32) for i in range(len(levels))]
            if sorted(order) != list(range(len(card.phases))) or len(levels) != len(order) - 1:
                raise ValueError(f"order {order} and levels {levels} do not fit {len(card.phases)} phases")
            if not all(k.ndim == 3 and len(set(k.shape)) == 1 and np.isfinite(k).all() for k in kernels):
                raise ValueError("a kernel is not a cube of finite numbers")
        except Exception as error:
            # The reader of the weights has error types of its own.
            raise ValueError(f"'{folder}' does not hold a complete Gaussian model: {error}") from error
        return cls(card, kernels)

    def _fill(self, labels: NDArray[np.uint8], asked: Request, *, index: int) -> None:
        settings = self.card.settings or {}
        order = settings["order"]
        counts = None
        if asked.fractions is not None:
            counts = phase_counts(asked.fractions, n_phases=len(order), voxels=labels.size)
        labels.fill(order[-1])
        for stage, (kernel, level) in enumerate(zip(self.kernels, settings["levels"], strict=True)):
            rng = np.random.default_rng(sample_seed(asked.seed, index, stage))
            values = (order[stage], order[-1])
            if counts is None:
                waves = draw_kernel_waves(asked.shape, kernel, periodic=asked.periodic, rng=rng)
                _cut_at_level(waves, labels, level, values)
                continue
            own, rest = int(counts[order[stage]]), int(counts[order[stage + 1 :]].sum())
            if rest == 0:
                labels[labels == values[1]] = values[0]
                return
            if own:
                waves = draw_kernel_waves(asked.shape, kernel, periodic=asked.periodic, rng=rng)
                cut_waves(waves, labels, counts=(own, rest), values=values)


def _cut_at_level(waves: Any, labels: NDArray[np.uint8], level: float, values: tuple[int, int]) -> None:
    """Give the first of `values` to the voxels of the second at which the field is below the level."""

    def cut(z: int) -> None:
        plane = labels[z]
        plane[(waves.plane(z) < level) & (plane == values[1])] = values[0]

    in_threads(cut, range(len(labels)))


def fit_gaussian(
    labels: ArrayLike,
    *,
    phases: Sequence[str] | None = None,
    voxel_size_um: tuple[float, float, float] | None = None,
    anisotropic: bool = False,
) -> GaussianPipeline:
    r"""Fit level cuts of Gaussian fields to the volume fractions and two-point correlations of a material.

    Parameters
    ----------
    labels : Volume, Structure or array_like of int, shape (Z, Y, X)
        Two to six phases, labels 0, 1, …; at least 16 voxels along every axis.
    phases : sequence of str, optional
        Names indexed by label; by default the volume's own.
    voxel_size_um : tuple of three floats, optional
        ``(z, y, x)`` in µm; by default the volume's own. It is written on the card; the fit is in voxels.
    anisotropic : bool
        Fit the correlation at each displacement (±z, ±y, ±x) instead of at each distance. Axes of symmetry must be
        those of the array: a texture tilted against them is fitted by the mean of its mirror images.

    Returns
    -------
    GaussianPipeline

    Raises
    ------
    ValueError
        If the labels are not such a volume.

    Notes
    -----
    With two phases the correlation of the field follows from S2 of either phase, one number from one number at each
    displacement [1]_, [2]_; what no field can have of it is changed where it is least felt (`fit_kernel`). With n
    phases there are n - 1 independent fields, so that in closed form

    .. math:: S_2^{(k)}(r) = C_k(r) \prod_{j<k} (1 - 2 q_j + C_j(r)), \qquad q_k = φ_k / (φ_k + … + φ_{n-1})

    where C_j is the two-point function of the j-th cut. From this C_k follows twice, from S2 of phase k and from that
    of all later phases together; it is the mean of the two, their least-squares solution. All n!/2 orders are tried,
    and the one whose S2 are nearest to the material's is kept.

    What such a model matches: volume fractions; with two phases S2 and with it the specific surface (minus four times
    the slope of S2 at 0). What it cannot: Euler density and mean curvature have no freedom left, they follow from the
    fraction and the correlation's curvature at 0 (near half and half the Euler density is that of a sponge, negative
    for both phases). Phase and complement follow one law, so grains and the space between them look alike. With three
    phases or more, what a later phase does is independent of the distance to an earlier one: cross-correlations have
    no freedom, and phases that coat or avoid others come out as if they did not.

    References
    ----------
    .. [1] J. A. Quiblier, "A new three-dimensional modeling technique for studying porous media", J. Colloid Interface
       Sci. 98 (1984) 84.
    .. [2] P. M. Adler, C. G. Jacquin, J. A. Quiblier, "Flow in simulated porous media", Int. J. Multiphase Flow 16
       (1990) 691.
    """
    material = read_material(labels, phases=phases, voxel_size_um=voxel_size_um)
    if len(material.phases) > MOST_PHASES:
        raise ValueError(
            f"the volume has {len(material.phases)} phases; a Gaussian model is fitted to at most {MOST_PHASES}: "
            "merge phases first"
        )
    pairs = measure_pairs(material, isotropic=not anisotropic)
    order = _nearest_order(pairs)
    fits, s2 = _fit_order(pairs, order)
    settings = {
        "order": list(order),
        "levels": [float(ndtri(q)) for q in _shares(pairs.fractions, order)],
        "anisotropic": bool(anisotropic),
        "reach_vox": pairs.reach(),
        "clipped": [fit.clipped for fit in fits],
        "correlation_error": [fit.error for fit in fits],
        "s2_error": pairs.error_of(s2),
    }
    z, y, x = material.labels.shape
    card = ModelCard("gaussian", material.phases, material.voxel_size_um, patch=(z, y, x), settings=settings)
    return GaussianPipeline(card, [fit.kernel for fit in fits])


def _shares(fractions: Array, order: Sequence[int]) -> list[float]:
    """Return what each cut takes of what the cuts before it have left."""
    return [float(fractions[order[k]] / fractions[list(order[k:])].sum()) for k in range(len(order) - 1)]


def _nearest_order(pairs: PairCovariance) -> tuple[int, ...]:
    """Return the order of the phases whose closed-form S2 are nearest, by their radial means."""
    radial = pairs.radial()
    n = len(radial.fractions)
    # The last cut has no first and second.
    orders = [order for order in itertools.permutations(range(n)) if order[-2] < order[-1]]
    return min(orders, key=lambda order: np.mean(np.square(radial.error_of(_closed_form(radial, order)))))


def _closed_form(pairs: PairCovariance, order: Sequence[int]) -> dict[int, Array]:
    """Return S2 of each phase for fields of whatever correlation fits, whether or not a field can have it."""
    left: Array = np.ones_like(pairs.distance)
    s2 = {}
    for k, q in enumerate(_shares(pairs.fractions, order)):
        covariance = cut_covariance(invert_covariance(_cut_covariance(pairs, order, k, left), q), q)
        s2[order[k]] = left * (q * q + covariance)
        left = left * ((1 - q) ** 2 + covariance)
    return s2 | {order[-1]: left}


def _fit_order(pairs: PairCovariance, order: Sequence[int]) -> tuple[list[FittedKernel], dict[int, Array]]:
    """Fit the field of each cut, one after the other, and return S2 of the phases that they make."""
    left: Array = np.ones_like(pairs.distance)
    fits, s2, reach = [], {}, pairs.reach()
    for k, q in enumerate(_shares(pairs.fractions, order)):
        wanted = invert_covariance(_cut_covariance(pairs, order, k, left), q)
        fit = fit_kernel(wanted, pairs.distance, reach=reach)
        correlation = np.zeros_like(wanted)
        correlation[tuple(slice(n) for n in fit.correlation.shape)] = fit.correlation
        covariance = cut_covariance(correlation, q)
        s2[order[k]] = left * (q * q + covariance)
        left = left * ((1 - q) ** 2 + covariance)
        fits.append(fit)
    return fits, s2 | {order[-1]: left}


def _cut_covariance(pairs: PairCovariance, order: Sequence[int], k: int, left: Array) -> Array:
    """Return the covariance of cut k that fits the phase it makes and the rest, given S2 of what earlier cuts left."""
    own, rest = pairs.of_sets([order[k]]), pairs.of_sets(order[k + 1 :])
    q = _shares(pairs.fractions, order)[k]
    fitted: Array = ((own + rest) / np.maximum(left, LEAST_LEFT) - q * q - (1 - q) ** 2) / 2
    return fitted
