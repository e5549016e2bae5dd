"""How much shorter the structure is along y than along x: the foreshortening, if the structure is isotropic."""

import dataclasses
import math

import numpy as np
from scipy import ndimage

from segment.correction.motion import Scene

__all__ = ["Compression", "measure_compression"]

TILES = 4
# Blur and noise are the same along both axes and draw the ratio towards 1: on sphere packs, Gaussian fields and
# catalyst layers of known tilt by up to half of the distance that was left.
DRAWN_TO_ONE = 0.5


@dataclasses.dataclass(frozen=True)
class Compression:
    """Ratio of the structure's lengths along y to those along x on the cut faces.

    Parameters
    ----------
    ratio : float
    standard_error : float
        From the spread over tiles of the stack.
    systematic : float
        By how much blur and noise may have drawn it towards 1.
    """

    ratio: float
    standard_error: float
    systematic: float

    @property
    def error(self) -> float:
        """Both errors together."""
        return math.hypot(self.standard_error, self.systematic)


def measure_compression(scene: Scene) -> Compression | None:
    """Compare the structure along y and x.

    Parameters
    ----------
    scene : Scene

    Returns
    -------
    Compression or None
        None where the faces cannot be told from pores or hardly any edge is crossed.

    Notes
    -----
    Lines along y and x across an isotropic structure cross its surface equally often per length [1]_; squeezed by a
    factor c along y, those along y cross 1/c times as often. Counted at two widths of smoothing and extrapolated to
    none, linearly in the square of the width.

    References
    ----------
    .. [1] E. E. Underwood, *Quantitative Stereology*, 1970, section 2.2.
    """
    if scene.level is None:
        return None
    counts = np.array([_crossings_by_tile(scene.faces, extra) for extra in (1.0, math.sqrt(3.0))])
    whole = counts.sum(axis=1, keepdims=True)
    if whole[..., 0].min() < 200:
        return None
    n = counts.shape[1]
    without = _extrapolate(whole - counts)
    ratio = float(_extrapolate(whole)[0])
    statistical = math.sqrt((n - 1) / n * float(np.sum((without - without.mean()) ** 2)))
    return Compression(ratio, statistical, abs(1 - ratio) * DRAWN_TO_ONE)


def _crossings_by_tile(faces: np.ndarray, sigma_px: float) -> np.ndarray:
    """Return how often lines along y and x cross an edge of the faces in each tile, (tiles, 2)."""
    pieces = np.array_split(np.arange(len(faces)), min(TILES, len(faces)))
    counts = np.zeros((len(pieces), TILES, 2))
    for i, piece in enumerate(pieces):
        for z in piece:
            solid = ndimage.gaussian_filter(faces[z], sigma_px, mode="nearest") > 0.5
            for j, part in enumerate(np.array_split(solid, TILES, axis=1)):
                counts[i, j, 0] += np.count_nonzero(part[1:] != part[:-1]) / (len(part) - 1) * len(part)
                counts[i, j, 1] += np.count_nonzero(part[:, 1:] != part[:, :-1]) / (part.shape[1] - 1) * part.shape[1]
    return counts.reshape(-1, 2)


def _extrapolate(counts: np.ndarray) -> np.ndarray:
    """Return the ratio at no smoothing from counts (2, n, 2) at variances of 2 and 4 pixels²."""
    ratio = counts[..., 1] / np.maximum(counts[..., 0], 1)
    return 2 * ratio[0] - ratio[1]
