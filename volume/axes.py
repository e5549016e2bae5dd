"""From whatever axes a file has to (z, y, x)."""

import numpy as np

from volume.errors import VolumeFileError

__all__ = ["to_zyx"]


def to_zyx(array: np.ndarray, axes: str | None, where: str) -> np.ndarray:
    """Bring an image to three axes (z, y, x).

    Parameters
    ----------
    array : ndarray
        Image with any number of axes.
    axes : str or None
        One letter per axis: ``Z``, ``Y``, ``X``; ``I`` or ``Q`` (pages of unnamed meaning) stand for ``Z`` if that is
        absent; every other axis must have one element. ``None``: unnamed axes, of which those with one element
        are dropped from the front and then from the back until three are left.
    where : str
        The file, for messages.

    Returns
    -------
    ndarray of shape (Z, Y, X)
        A single image becomes one slice.

    Raises
    ------
    VolumeFileError
        Channels, colours, time points, or too few or too many axes.
    """
    if axes is None:
        return _drop_unnamed(array, where)
    axes = axes.upper()
    if "S" in axes and array.shape[axes.index("S")] > 1:
        raise VolumeFileError(f"{where} holds colour (RGB) images; convert them to grey first")
    pages = [k for k, name in enumerate(axes) if name in "IQ" and array.shape[k] > 1]
    if "Z" not in axes and len(pages) == 1:
        axes = axes[: pages[0]] + "Z" + axes[pages[0] + 1 :]
    for name, size in zip(axes, array.shape, strict=True):
        if name not in "ZYX" and size > 1:
            meaning = {"C": "channels", "T": "time points"}.get(name, f"entries along its axis '{name}'")
            raise VolumeFileError(
                f"{where} holds {size} {meaning}; a volume has the axes z, y, x alone: save one of them, "
                f"or swap the axis with z if it is meant to be z"
            )
    if "Y" not in axes or "X" not in axes:
        raise VolumeFileError(f"{where} has the axes '{axes}'; a volume has z, y and x")
    kept = [k for k, name in enumerate(axes) if name in "ZYX"]
    image = array.reshape([array.shape[k] for k in kept])
    names = "".join(axes[k] for k in kept)
    image = image.transpose([names.index(name) for name in "ZYX" if name in names])
    return image if image.ndim == 3 else image[np.newaxis]


def _drop_unnamed(array: np.ndarray, where: str) -> np.ndarray:
    image = array[np.newaxis] if array.ndim == 2 else array
    while image.ndim > 3 and image.shape[0] == 1:
        image = image[0]
    while image.ndim > 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim > 3 and image.shape[-1] in (3, 4):
        raise VolumeFileError(
            f"{where} has shape {array.shape}, which looks like colour (RGB); convert it to grey first"
        )
    if image.ndim != 3:
        raise VolumeFileError(f"{where} has shape {array.shape}; a volume has the axes z, y, x alone")
    return image
