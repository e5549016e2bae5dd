"""Charge on what does not conduct: glow and halo, streaks along the fast scan, drift and jumps of brightness."""

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from scipy import fft, ndimage

from synth.laws import Law, check_range
from synth.sem.artefact import check_artefact, draw_seed, slice_stream, slow_field
from synth.threads import in_threads

__all__ = ["Charging", "apply_charging"]


@dataclass(frozen=True)
class Charging:
    """How a stack charges. Without glow, halo, streaks, drift and jumps it does not.

    Parameters
    ----------
    glow : float or Law
        Brightness added where the face is charged, in full scale; negative darkens.
    halo : float or Law
        Brightness added around charged regions, at their rim; negative for the dark halo of a bright region.
    halo_px : float or Law
        Distance over which the halo falls to 1/e.
    streak : float or Law
        Brightness of the streaks that trail from charged regions along the fast scan, +x; negative for dark ones.
    streak_px : float or Law
        Distance over which a streak falls to 1/e.
    phases : tuple of int
        Labels of what does not conduct; 0 is the pore, for resin that charges.
    isolated : float or Law
        How strongly, from 0 to 1, regions of solid charge that are cut off from the rest of the face.
    patches : float or Law
        How unevenly the charge is spread: 0 charges every region of these phases alike, 1 leaves parts of the face
        without charge.
    patch_px : float or Law
        Size of the patches.
    drift : float or Law
        Standard deviation, from slice to slice, of the brightness at a slice's first row, which decays exponentially.
    drift_rows : float or Law
        Number of rows over which it falls to 1/e.
    jumps : float or Law
        Mean number of abrupt changes of brightness in a slice.
    jump : float or Law
        Standard deviation of such a change, in full scale; it decays exponentially, with `drift_rows`.
    persistence_slices : float or Law
        Number of slices after which the patches have fallen to about 1/e of their correlation.
    """

    glow: float | Law = 0.0
    halo: float | Law = 0.0
    halo_px: float | Law = 12.0
    streak: float | Law = 0.0
    streak_px: float | Law = 40.0
    phases: tuple[int, ...] = (1,)
    isolated: float | Law = 1.0
    patches: float | Law = 0.7
    patch_px: float | Law = 50.0
    drift: float | Law = 0.0
    drift_rows: float | Law = 60.0
    jumps: float | Law = 0.0
    jump: float | Law = 0.05
    persistence_slices: float | Law = 5.0

    def __post_init__(self) -> None:
        for name in ("glow", "halo", "streak"):
            check_range(name, getattr(self, name), low=-1, high=1)
        for name in ("drift", "jump", "isolated", "patches"):
            check_range(name, getattr(self, name), low=0, high=1)
        for name in ("halo_px", "patch_px", "streak_px", "drift_rows"):
            check_range(name, getattr(self, name), low=1, high=1e6)
        check_range("jumps", self.jumps, low=0, high=1000)
        check_range("persistence_slices", self.persistence_slices, low=0)
        known = isinstance(self.phases, tuple) and all(
            isinstance(phase, int) and not isinstance(phase, bool) and 0 <= phase <= 255 for phase in self.phases
        )
        if not known:
            raise ValueError(f"phases are {self.phases!r}; give a tuple of labels from 0 to 255")


def apply_charging(
    grey: np.ndarray, labels: np.ndarray, settings: Charging, *, rng: np.random.Generator | int
) -> np.ndarray:
    """Charge what does not conduct, and let the brightness of a stack show it.

    Parameters
    ----------
    grey : ndarray of float32, shape (Z, Y, X)
        Linear grey values in full scale. The fast scan runs along +x, the slow one along +y.
    labels : ndarray of uint8, same shape
        Label of what each pixel shows at the cut face; 0 is pore.
    settings : Charging
        Without laws.
    rng : Generator or int
        One number is drawn from it.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        Not cut to [0, 1]. The labels stay true.

    Raises
    ------
    ValueError
        For arguments that do not fit.

    Notes
    -----
    The charge c, from 0 to 1, is that of `phases`, in patches, and of isolated regions, sides touching. The halo
    is the screened potential of the charge, the solution of ``(1 - halo_px**2 laplace) p = c`` with no flux through
    the slice's border, and adds ``halo * 2 p (1 - c)``: beside a straight rim this is halo exp(-distance /
    halo_px), the discrete Laplacian being scaled so that this holds from pixel to pixel. A streak begins where c
    falls along +x, with the height of the fall times a random number of mean 1 for the row, small in most rows and
    large in a few, and correlated over two rows; where streaks meet the brighter one shows.
    """
    grey, labels = check_artefact(grey, labels, settings, Charging)
    seed = draw_seed(rng)
    charge: Any = settings
    by_feature = charge.glow != 0 or charge.halo != 0 or charge.streak != 0
    patches = slow_field(
        grey.shape, (charge.patch_px, charge.patch_px), charge.persistence_slices, rng=np.random.default_rng(seed)
    )
    green = _screening(grey.shape[1:], charge.halo_px)
    out = grey.copy()

    def add(z: int) -> None:
        rng = slice_stream(seed, z)
        rows = _row_offsets(grey.shape[1], charge, rng).astype(np.float32)
        if rows.any():
            out[z] += rows[:, None]
        if by_feature:
            level = _charge_levels(labels[z], charge, patches.slice(z))
            _add_glow(out[z], level, charge, green, rng)

    in_threads(add, range(len(grey)))
    return out


def _row_offsets(n_rows: int, charge: Any, rng: np.random.Generator) -> np.ndarray:
    """Return what drift and jumps add to each row of one slice."""
    rows = np.arange(n_rows)
    begins = np.append(0, rng.integers(n_rows, size=rng.poisson(charge.jumps)))
    steps = rng.standard_normal(len(begins)) * np.where(np.arange(len(begins)) == 0, charge.drift, charge.jump)
    since = rows - begins[:, None]
    return (steps[:, None] * np.exp(-np.maximum(since, 0) / charge.drift_rows) * (since >= 0)).sum(axis=0)


def _charge_levels(labels: np.ndarray, charge: Any, patches: np.ndarray) -> np.ndarray:
    """Return the charge of each pixel of one slice, from 0 to 1, float32."""
    level = np.isin(np.arange(256), charge.phases).astype(np.float32)[labels]
    if charge.patches > 0:
        # Squeezed, so that patches have flat insides.
        level *= 1 - np.float32(charge.patches / 2) * (1 - np.tanh(2 * patches))
    if charge.isolated > 0:
        np.maximum(level, np.float32(charge.isolated) * _isolated(labels > 0), out=level)
    return level


def _isolated(solid: np.ndarray) -> np.ndarray:
    """Return which solid pixels belong to regions that do not reach the border of the slice."""
    regions, n_regions = ndimage.label(solid)
    alone = np.ones(n_regions + 1, bool)
    for border in (regions[0], regions[-1], regions[:, 0], regions[:, -1]):
        alone[border] = False
    alone[0] = False
    return alone[regions]


def _screening(shape: tuple[int, ...], length: float) -> np.ndarray:
    """Return what the cosine transform of the charge is multiplied by to give that of the potential."""
    y, x = (4 * np.sin(np.pi * np.arange(n) / (2 * n)) ** 2 for n in shape)
    return (1 / (1 + (y[:, None] + x) / (4 * math.sinh(0.5 / length) ** 2))).astype(np.float32)


def _add_glow(grey: np.ndarray, level: np.ndarray, charge: Any, green: np.ndarray, rng: np.random.Generator) -> None:
    if charge.glow != 0:
        grey += np.float32(charge.glow) * level
    if charge.halo != 0:
        potential = fft.idctn(green * fft.dctn(level))
        grey += np.float32(2 * charge.halo) * potential * (1 - level)
    if charge.streak != 0:
        white = rng.standard_normal(len(grey) + 1)
        # The square of a normal number of variance 1 has a mean of 1.
        rows = (white[1:] + white[:-1]) ** 2 / 2
        _add_streaks(grey, level, charge.streak * rows, math.exp(-1 / charge.streak_px))


@numba.njit(cache=True, nogil=True)
def _add_streaks(grey: Any, level: Any, strength: Any, fall: float) -> None:
    for y in range(grey.shape[0]):
        streak = 0.0
        for x in range(1, grey.shape[1]):
            streak = max(streak * fall, level[y, x - 1] - level[y, x])
            grey[y, x] += strength[y] * streak * (1 - level[y, x])
