"""What the ion beam leaves on a cut face: curtains below hard spots, and milled material that settles again."""

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from scipy import ndimage

from synth.laws import Law, check_range
from synth.sem.artefact import SlowField, check_artefact, draw_seed, slow_field
from synth.threads import in_threads

__all__ = ["Curtains", "Redeposition", "apply_curtains", "apply_redeposition"]

# Stripes of three widths, the nodes and weights of a Gaussian law of their logarithm.
WIDTHS = ((-math.sqrt(3), 1 / 6), (0.0, 2 / 3), (math.sqrt(3), 1 / 6))
SPOT_ROWS = 4  # rows that share the random strength of the spots in them
SPOT_PX = 16.0  # height over which this strength changes: that of one hard spot
BEFORE_CORNERS = 4  # power of the distance from the middle column: the film thickens only next to the corners


@dataclass(frozen=True)
class Curtains:
    """Stripes that the ion beam draws along +y. Without strength there are none.

    Parameters
    ----------
    strength : float or Law
        Standard deviation of the stripes' gain where they are strongest, just below a hard spot.
    offset : float or Law
        The same of what the stripes add, in full scale; it has the stripes' own sign.
    width_px : float or Law
        Median full width at half height of a stripe, across the beam.
    width_spread : float or Law
        Standard deviation of the logarithm of that width among the stripes of a stack.
    fade_px : float or Law
        Distance along the beam over which a stripe falls to 1/e.
    full_height : float or Law
        Share, from 0 to 1, of the stripes' power that begins above the image and does not fade.
    angle_deg : float or Law
        Angle between the beam and +y, positive towards +x.
    persistence_slices : float or Law
        Number of slices after which a stripe's correlation with itself has fallen to about 1/e, where the spot is
        still there; 0 draws each slice anew.
    pore_px : float or Law
        Run of the beam through softer material after which a hard edge starts a stripe of full strength; shorter
        runs start weaker ones, as 1 - exp(-run / pore_px). 0 lets every edge count fully.
    hardness : tuple of (float or Law)
        Resistance to milling of phases 1, 2, …, from 0, like a pore, to 1; a last value serves for all further
        phases. Stripes start where the beam passes into something harder.
    in_pores : float or Law
        What is seen of a stripe where the face shows a pore: 0 for open pores, 1 for filled ones.
    """

    strength: float | Law = 0.0
    offset: float | Law = 0.0
    width_px: float | Law = 4.0
    width_spread: float | Law = 0.6
    fade_px: float | Law = 60.0
    full_height: float | Law = 0.1
    angle_deg: float | Law = 0.0
    persistence_slices: float | Law = 4.0
    pore_px: float | Law = 8.0
    hardness: tuple[float | Law, ...] = (1.0,)
    in_pores: float | Law = 0.0

    def __post_init__(self) -> None:
        for name in ("strength", "offset"):
            check_range(name, getattr(self, name), low=0, high=1)
        check_range("width_px", self.width_px, low=0.5)
        check_range("width_spread", self.width_spread, low=0, high=1.5)
        check_range("fade_px", self.fade_px, low=1)
        check_range("angle_deg", self.angle_deg, low=-30, high=30)
        check_range("persistence_slices", self.persistence_slices, low=0)
        check_range("pore_px", self.pore_px, low=0, high=1e6)
        for name in ("full_height", "in_pores"):
            check_range(name, getattr(self, name), low=0, high=1)
        if not isinstance(self.hardness, tuple) or not self.hardness:
            raise ValueError(f"hardness is {self.hardness!r}; give a tuple of numbers, one for each solid phase")
        for phase, hardness in enumerate(self.hardness, 1):
            check_range(f"hardness of phase {phase}", hardness, low=0, high=1)


@dataclass(frozen=True)
class Redeposition:
    """Milled material that settles in pores and at the lower end of the face. Without share there is none.

    Parameters
    ----------
    pores : float or Law
        Share, from 0 to 1, of the film in what is seen through a pore, where the film is thickest.
    face : float or Law
        The same on the cut face, from 0 to 0.5: the face stays the greater part of what is seen.
    grey : float or Law
        Grey value of the film.
    reach_px : float or Law
        Height above the lower end of the face at which the film has fallen to 1/e.
    corners : float or Law
        How much higher the film reaches in the lower corners than between them: 1 is twice as high.
    floors : float or Law
        Share, from 0 to 1, of the film in pores that keeps to their lower ends; the rest is spread evenly.
    floor_px : float or Law
        Height above the lower end of a pore at which that share has fallen to 1/e.
    patches : float or Law
        How patchy the film is: 0 is even, 1 leaves patches bare.
    patch_px : float or Law
        Size of the patches.
    blur_px : float or Law
        Standard deviation of the blur of what lies below the film.
    grain : float or Law
        Standard deviation of the film's grey, relative to its mean.
    grain_px : float or Law
        Size of its grains.
    persistence_slices : float or Law
        Number of slices after which patches and grains have fallen to about 1/e of their correlation.
    """

    pores: float | Law = 0.0
    face: float | Law = 0.0
    grey: float | Law = 0.6
    reach_px: float | Law = 80.0
    corners: float | Law = 0.5
    floors: float | Law = 0.6
    floor_px: float | Law = 10.0
    patches: float | Law = 0.5
    patch_px: float | Law = 30.0
    blur_px: float | Law = 1.5
    grain: float | Law = 0.15
    grain_px: float | Law = 3.0
    persistence_slices: float | Law = 3.0

    def __post_init__(self) -> None:
        for name in ("pores", "grey", "floors", "patches", "grain"):
            check_range(name, getattr(self, name), low=0, high=1)
        check_range("face", self.face, low=0, high=0.5)
        for name in ("reach_px", "floor_px", "patch_px", "grain_px"):
            check_range(name, getattr(self, name), low=1)
        check_range("blur_px", self.blur_px, low=0, high=20)
        for name in ("corners", "persistence_slices"):
            check_range(name, getattr(self, name), low=0)


def apply_curtains(
    grey: np.ndarray, labels: np.ndarray, settings: Curtains, *, rng: np.random.Generator | int
) -> np.ndarray:
    """Draw the stripes of uneven milling over a stack.

    Parameters
    ----------
    grey : ndarray of float32, shape (Z, Y, X)
        Linear grey values in full scale.
    labels : ndarray of uint8, same shape
        Label of what each pixel shows at the cut face.
    settings : Curtains
        Without laws.
    rng : Generator or int
        One number is drawn from it.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        ``grey * max(1 + strength * a, 0) + offset * a``. The labels stay true.

    Raises
    ------
    ValueError
        For arguments that do not fit.

    Notes
    -----
    The beam runs down each column, at `angle_deg`. Where it passes from hardness h into h' > h after a run r, the
    amplitude a of the column's stripe becomes ``sqrt(1 - w**2) a + w q`` with ``w = (h' - h)(1 - exp(-r /
    pore_px))``; q is random, of variance 1 and heavy tails, alike over the width of a stripe, the height of a hard
    spot and a few slices. Downwards a falls as exp(-y / fade_px), and its variance never exceeds 1. What happens
    above the image is not known; `full_height` stands for it.
    """
    grey, labels = check_artefact(grey, labels, settings, Curtains)
    seed = draw_seed(rng)
    if settings.strength == 0 and settings.offset == 0:
        return grey.copy()
    mill: Any = settings
    slope = math.tan(math.radians(mill.angle_deg))
    start = math.floor(min(0.0, -slope * (grey.shape[1] - 1)))
    n_beams = grey.shape[2] + math.ceil(abs(slope) * (grey.shape[1] - 1)) + 2
    spots = _draw_stripes((len(grey), -(-grey.shape[1] // SPOT_ROWS), n_beams), settings, (seed, 0))
    whole = _draw_stripes((len(grey), 1, n_beams), settings, (seed, 1))
    numbers = np.array([mill.strength, mill.offset, mill.in_pores, mill.full_height, mill.pore_px], np.float32)
    out = np.empty_like(grey)

    def draw(z: int) -> None:
        _draw_curtains(
            grey[z], labels[z], _strength(spots, z), _strength(whole, z)[0], out[z],
            _hardness(settings), numbers, slope, start, math.exp(-1 / mill.fade_px),
        )  # fmt: skip

    in_threads(draw, range(len(grey)))
    return out


def _draw_stripes(shape: tuple[int, int, int], settings: Any, seed: tuple[int, int]) -> list[SlowField]:
    """Return a field for each width of stripes; its rows are those of the spots, its columns the beams."""
    rng = np.random.default_rng(seed)
    widths = [settings.width_px * math.exp(settings.width_spread * node) for node, _ in WIDTHS]
    spot = SPOT_PX / SPOT_ROWS
    return [slow_field(shape, (spot, width), settings.persistence_slices, rng=rng) for width in widths]


def _strength(fields: list[SlowField], z: int) -> np.ndarray:
    """Return random strengths of variance 1, most of them weak and a few strong."""
    total: Any = 0.0
    for field, (_, weight) in zip(fields, WIDTHS, strict=True):
        normal = field.slice(z)
        total = total + np.float32(math.sqrt(weight / 3)) * normal * abs(normal)
    return total


def _hardness(settings: Any) -> np.ndarray:
    """Return the hardness of each label."""
    hardness = np.array([0.0, *settings.hardness], np.float32)
    return hardness[np.minimum(np.arange(256), len(hardness) - 1)]


@numba.njit(cache=True, nogil=True)
def _draw_curtains(
    grey: Any, labels: Any, spots: Any, whole: Any, out: Any, hardness: Any, numbers: Any,
    slope: float, start: int, fade: float,
) -> None:  # fmt: skip
    ny, nx = grey.shape
    strength, offset, in_pores, full_height, pore = numbers
    from_spots, from_above = math.sqrt(1 - full_height), math.sqrt(full_height)
    n_beams = len(whole)
    amplitude = np.zeros(n_beams, np.float32)
    run = np.zeros(n_beams, np.float32)
    before = np.full(n_beams, -1, np.float32)
    for y in range(ny):
        shift = slope * y
        for beam in range(n_beams):
            x = min(max(math.floor(start + beam + shift + 0.5), 0), nx - 1)
            hard = hardness[labels[y, x]]
            if hard < before[beam]:
                run[beam] = 0
            elif hard > before[beam] and before[beam] >= 0:
                weight = hard - before[beam]
                if pore > 0:
                    weight *= 1 - math.exp(-run[beam] / pore)
                amplitude[beam] = (
                    math.sqrt(1 - weight * weight) * amplitude[beam] + weight * spots[y // SPOT_ROWS, beam]
                )
            before[beam] = hard
            run[beam] += 1
            amplitude[beam] *= fade
        at = -start - shift
        low = math.floor(at)
        share = np.float32(at - low)
        for x in range(nx):
            left, right = x + low, min(x + low + 1, n_beams - 1)
            stripe = from_spots * ((1 - share) * amplitude[left] + share * amplitude[right])
            stripe += from_above * ((1 - share) * whole[left] + share * whole[right])
            if labels[y, x] == 0:
                stripe *= in_pores
            out[y, x] = grey[y, x] * max(1 + strength * stripe, 0) + offset * stripe


def apply_redeposition(
    grey: np.ndarray, labels: np.ndarray, settings: Redeposition, *, rng: np.random.Generator | int
) -> np.ndarray:
    """Let milled material settle on a stack.

    Parameters
    ----------
    grey : ndarray of float32, shape (Z, Y, X)
        Linear grey values in full scale.
    labels : ndarray of uint8, same shape
        Label of what each pixel shows at the cut face; 0 is pore.
    settings : Redeposition
        Without laws.
    rng : Generator or int
        One number is drawn from it.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X)
        What lies below is blurred and then hidden by a share of at most `pores` or `face`. The labels stay true: the
        film lies on the picture of the face, the face is where it was.

    Raises
    ------
    ValueError
        For arguments that do not fit.

    Notes
    -----
    The film's thickness, from 0 to 1, is patchy and falls as exp(-height / reach) above the last row, `reach` growing
    from `reach_px` in the middle column to ``reach_px (1 + corners)`` in the first and the last. In pores it falls
    further, as ``1 - floors + floors exp(-distance / floor_px)``, above the next solid along +y; the image's end
    counts as solid.
    """
    grey, labels = check_artefact(grey, labels, settings, Redeposition)
    seed = draw_seed(rng)
    if settings.pores == 0 and settings.face == 0:
        return grey.copy()
    film: Any = settings
    random = np.random.default_rng(seed)
    patches = slow_field(grey.shape, (film.patch_px, film.patch_px), film.persistence_slices, rng=random)
    grains = slow_field(grey.shape, (film.grain_px, film.grain_px), film.persistence_slices, rng=random)
    even = _even_film(grey.shape[1:], film)
    out = np.empty_like(grey)

    def settle(z: int) -> None:
        # Squeezed, so that patches have flat insides.
        cover = even * (1 - np.float32(film.patches / 2) * (1 - np.tanh(2 * patches.slice(z))))
        cover *= _catch(labels[z], film.pores, film.face, film.floors, film.floor_px)
        below = ndimage.gaussian_filter(grey[z], film.blur_px, mode="nearest")
        # Half a film blurs fully.
        out[z] = grey[z] + np.minimum(2 * cover, 1) * (below - grey[z])
        out[z] += cover * (film.grey * np.maximum(1 + np.float32(film.grain) * grains.slice(z), 0) - out[z])

    in_threads(settle, range(len(grey)))
    return out


def _even_film(shape: tuple[int, ...], film: Any) -> np.ndarray:
    """Return the thickness without patches, float32, shape (Y, X)."""
    height = np.arange(shape[0])[::-1]
    side = abs(np.linspace(-1, 1, shape[1])) ** BEFORE_CORNERS if shape[1] > 1 else np.ones(1)
    reach = film.reach_px * (1 + film.corners * side)
    return np.exp(-height[:, None] / reach).astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _catch(labels: Any, in_pores: float, on_face: float, floors: float, floor: float) -> Any:
    """Return the share of the film at each pixel where its thickness is 1."""
    ny, nx = labels.shape
    share = np.empty((ny, nx), np.float32)
    fall = math.exp(-1 / floor)
    near = np.ones(nx)
    for y in range(ny - 1, -1, -1):
        for x in range(nx):
            if labels[y, x] > 0:
                near[x] = 1.0
                share[y, x] = on_face
            else:
                share[y, x] = in_pores * (1 - floors + floors * near[x])
                near[x] *= fall
    return share
