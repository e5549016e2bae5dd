"""From labels to the channels that a diffusion model works on, each phase's in [−1, 1]."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["LabelCoding", "encode"]


@dataclass(frozen=True)
class LabelCoding:
    """What the channel of a phase holds at a voxel.

    Parameters
    ----------
    kind : {"one_hot", "smoothed", "distance"}
        ``one_hot``: +1 in the phase, −1 outside (the paper's, in other units). ``smoothed``: that, blurred by a
        Gaussian. ``distance``: tanh(d / width), d being the distance to the phase's border, positive inside.
        The largest channel always is the phase of the voxel, but for features of ``smoothed`` narrower than its blur.
    width_vox : float
        Standard deviation of the blur, or distance over which the channel rises; without meaning for ``one_hot``.
        Smooth channels hold few large features in place of many small ones: a network behind a space-to-depth stem
        learns them sooner, and their largest channel has smooth borders.
    """

    kind: Literal["one_hot", "smoothed", "distance"] = "one_hot"
    width_vox: float = 2.0

    def __post_init__(self) -> None:
        if self.kind not in ("one_hot", "smoothed", "distance"):
            raise ValueError(f"kind is {self.kind!r}; give 'one_hot', 'smoothed' or 'distance'")
        if not 0 < self.width_vox < np.inf:
            raise ValueError(f"width_vox is {self.width_vox}; give a number above 0")


def encode(labels: NDArray[np.uint8], n_phases: int, *, coding: LabelCoding | None = None) -> NDArray[np.floating]:
    """Code labels.

    Parameters
    ----------
    labels : ndarray of uint8
        ``(Z, Y, X)``.
    n_phases : int
        Number of channels.
    coding : LabelCoding, optional
        One-hot unless given.

    Returns
    -------
    ndarray
        ``(n_phases, Z, Y, X)``: float32, of smooth codings float16, which holds them to 0.0005. Beyond its faces the
        volume is taken to go on as its mirror image (``smoothed``) or as its outermost voxels (``distance``).
    """
    coding = coding or LabelCoding()
    channels = [labels == phase for phase in range(n_phases)]
    if coding.kind == "one_hot":
        return np.stack([np.where(inside, np.float32(1), np.float32(-1)) for inside in channels])
    code = _smoothed if coding.kind == "smoothed" else _distances
    return np.stack([code(inside, coding.width_vox) for inside in channels])


def _smoothed(inside: NDArray[np.bool_], width: float) -> NDArray[np.float16]:
    from scipy.ndimage import gaussian_filter

    sharp = np.where(inside, np.float32(1), np.float32(-1))
    return gaussian_filter(sharp, width, mode="reflect").clip(-1, 1).astype(np.float16)


def _distances(inside: NDArray[np.bool_], width: float) -> NDArray[np.float16]:
    from scipy.ndimage import distance_transform_edt

    if inside.all() or not inside.any():
        return np.where(inside, np.float16(1), np.float16(-1))
    # A voxel beside a border is half a voxel away from it.
    within = distance_transform_edt(inside).astype(np.float32) - np.float32(0.5)
    without = distance_transform_edt(~inside).astype(np.float32) - np.float32(0.5)
    return np.tanh(np.where(inside, within, -without) / np.float32(width)).astype(np.float16)
