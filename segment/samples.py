"""Training samples cut out of a corpus, each a function of its index alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from segment.losses import IGNORED

__all__ = ["ORIENTATIONS", "RandomCrops", "check_crop_fits", "thickness_classes"]

# Which axis comes first; crops are turned in their plane by themselves.
ORIENTATIONS = ((0, 1, 2), (1, 0, 2), (2, 1, 0))

# And whether its first slice comes first, 1, or its last, -1.
_Way = tuple[tuple[int, int, int], int]

# Radii in voxels: 2k − 1 planes are the thinnest slab that holds a ball of radius k around a voxel.
RADII = (2, 3, 5, 9, 17)
# At strength 1: blur in voxels, noise and drift in units of the contrast.
MOST_BLUR, MOST_NOISE, MOST_DRIFT = 1.5, 0.15, 0.08


class RandomCrops:
    """Random crops of labelled volumes, mirrored, turned and changed in brightness.

    Parameters
    ----------
    images : sequence of ndarray, each of shape (C, Z, Y, X)
        The network's input; the last channel is the normalised grey value.
    labels : sequence of ndarray of uint8, each of shape (Z, Y, X)
        The truth; 255 where it is not known.
    crop : (int, int) or (int, int, int)
        Size of a sample: two numbers cut single slices, three cut blocks.
    seed : int
        With the sample's index it decides everything.
    aware : float
        Share of samples that are centred where thin features are as likely as thick ones: at a voxel drawn by phase,
        then by class of thickness (see `thickness_classes`), then evenly, whatever their shares of the volume. Voxels
        labelled 255 are never drawn. The other samples lie anywhere.
    neighbours : int
        k: a sample of a slice holds the 2 k + 1 slices around it as channels, that of the labels in the middle. At the
        stack's ends the outermost slice is repeated. For images of one channel only.
    mirrored : int, optional
        How many voxels beyond a volume's faces a crop may reach, at most half its own side; what lies there, and
        where a volume is smaller than the crop, is the volume's mirror image, its outermost voxels repeated first. None
        refuses volumes smaller than the crop.
    zoom : float
        Up to how many times a slice is enlarged, 1 or more: the crop is cut that many times smaller, by a factor drawn
        evenly in its logarithm. Grey values are interpolated linearly, labels taken from the nearest voxel. For slices
        only. Steps between neighbours stay: voxels become longer along z.
    stride : int
        Up to which step slices are taken, 1 or more: neighbours, or those of a block, lie 1, 2, …, `stride` slices
        apart, each as often, as in stacks of thick slices. Blocks never reach beyond the volume for that.
    alone : float
        Share of samples whose neighbours are copies of the slice itself, so that the network understands pictures that
        do not follow on one another.
    turned : bool
        Whether each sample is cut from its volume in any of six orientations: any axis first, from either end.
    strength : float
        From 0 (gain, offset and gamma only) to 1: how much further grey values are changed, so that a network meets
        more instruments than those of its corpus. At s, gain is drawn from 1 ± 0.15 (1 + s), offset from ±0.1 (1 + s),
        ln gamma from ±0.25 (1 + s); standard deviations are drawn from 0 up to 1.5 s voxels of blur (within slices; of
        blocks and neighbours half the time in all directions), 0.15 s of white noise (before the blur or after it) and
        0.08 s of the gain and offset of each slice.

    Raises
    ------
    ValueError
        If a volume is smaller than the crop (unless mirrored), has no known voxel for `aware` or another shape than its
        image, or a setting is out of its range.

    Notes
    -----
    `aware` holds one byte for each voxel.
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        *,
        crop: Sequence[int],
        seed: int,
        aware: float = 0.0,
        neighbours: int = 0,
        mirrored: int | None = None,
        zoom: float = 1.0,
        stride: int = 1,
        alone: float = 0.0,
        turned: bool = False,
        strength: float = 0.0,
    ) -> None:
        self.images, self.labels, self.seed = images, labels, seed
        self.flat = len(crop) == 2
        self.crop = _check_crop(crop)
        self.aware, self.strength = _share("aware", aware), _share("strength", strength)
        self.neighbours, self.mirrored, self.turned = _whole("neighbours", neighbours), mirrored, turned
        self.zoom, self.stride, self.alone = self._check_zoom(zoom), _whole("stride", stride), _share("alone", alone)
        self.margin = [min(_whole("mirrored", mirrored or 0), side // 2) for side in self.crop]
        self._check_volumes()
        self.strata = [_Strata(volume) for volume in labels] if self.aware else []

    def __call__(self, index: int) -> Mapping[str, torch.Tensor]:
        """Return ``image`` (C, …) and ``labels`` (…) of one sample; of neighbours the image is (2 k + 1, Y, X)."""
        rng = np.random.default_rng((self.seed, index))
        which = int(rng.integers(len(self.labels)))
        way = self._way(rng)
        step = self._step(self._shape(which, way)[0], rng)
        size = self._size(step, rng)
        labels, image = self._cut(which, way, self._corner(which, way, size, rng), size, step)
        labels, image = _turn(labels, image, rng)
        if self.alone and rng.random() < self.alone:
            image = image[:, [image.shape[1] // 2] * image.shape[1]]
        labels, image = _enlarged(labels, np.array(image, np.float32), self.crop)
        image[-1] = _regreyed(image[-1], rng, self.strength)
        if self.flat:
            labels, image = labels[0], image[0] if self.neighbours else image[:, 0]
        return {"image": torch.from_numpy(image), "labels": torch.from_numpy(labels.astype(np.int64))}

    def _way(self, rng: np.random.Generator) -> _Way:
        """Draw how the volume lies."""
        if not self.turned:
            return ORIENTATIONS[0], 1
        return ORIENTATIONS[rng.integers(len(ORIENTATIONS))], int(rng.choice((1, -1)))

    def _shape(self, which: int, way: _Way) -> tuple[int, int, int]:
        z, y, x = (self.labels[which].shape[axis] for axis in way[0])
        return z, y, x

    def _step(self, depth: int, rng: np.random.Generator) -> int:
        """Draw how far apart slices are taken."""
        if self.stride == 1:
            return 1
        step = 1 + int(rng.integers(self.stride))
        if self.flat:
            return step
        return max(1, min(step, (depth - 1) // max(1, self.crop[0] - 1)))

    def _size(self, step: int, rng: np.random.Generator) -> tuple[int, int, int]:
        """Draw how large a crop is cut."""
        depth, side, _ = self.crop
        if self.zoom > 1:
            side = max(1, round(side / self.zoom ** rng.random()))
        return step * (depth - 1) + 1, side, side

    def _corner(self, which: int, way: _Way, size: Sequence[int], rng: np.random.Generator) -> list[int]:
        """Draw where a crop of this size begins, in the volume as it lies."""
        shape = self._shape(which, way)
        margin = [min(m, side // 2) for m, side in zip(self.margin, size, strict=True)]
        # A volume smaller than the crop lies wholly in it, but for the margin.
        lowest = [min(0, n - c) - m for n, c, m in zip(shape, size, margin, strict=True)]
        highest = [max(0, n - c) + m for n, c, m in zip(shape, size, margin, strict=True)]
        if self.aware and rng.random() < self.aware:
            drawn = self.strata[which].draw(self.labels[which], rng)
            centre = [drawn[axis] for axis in way[0]]
            if way[1] < 0:
                centre[0] = shape[0] - 1 - centre[0]
            corner = [at - side // 2 for at, side in zip(centre, size, strict=True)]
            return [min(max(a, low), high) for a, low, high in zip(corner, lowest, highest, strict=True)]
        return [low + int(rng.integers(high - low + 1)) for low, high in zip(lowest, highest, strict=True)]

    def _cut(
        self, which: int, way: _Way, corner: Sequence[int], size: Sequence[int], step: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        axes, ends = way
        labels = self.labels[which].transpose(axes)[::ends]
        image = self.images[which].transpose(0, *(axis + 1 for axis in axes))[:, ::ends]
        for axis, (a, side) in enumerate(zip(corner, size, strict=True)):
            length = labels.shape[axis]
            window = _window(a, side, length)
            labels = labels[(slice(None),) * axis + (window,)]
            if axis == 0 and self.neighbours:
                around = step * np.arange(-self.neighbours, self.neighbours + 1)
                window = np.clip(a + around, 0, length - 1)
            image = image[(slice(None),) * (axis + 1) + (window,)]
        return (labels, image) if self.flat else (labels[::step], image[:, ::step])

    def _check_zoom(self, zoom: Any) -> float:
        if isinstance(zoom, bool) or not isinstance(zoom, int | float) or not 1 <= zoom <= self.crop[1]:
            raise ValueError(f"zoom is {zoom!r}; give a number from 1 to the side of the crop, {self.crop[1]}")
        if zoom > 1 and not self.flat:
            raise ValueError(f"zoom is {zoom}, but crops are blocks; give 1, or a crop of two numbers")
        return float(zoom)

    def _check_volumes(self) -> None:
        if self.neighbours and not self.flat:
            raise ValueError(f"neighbours is {self.neighbours}, but crops are blocks; give 0, or a crop of two numbers")
        if self.stride < 1:
            raise ValueError(f"stride is {self.stride}; give a whole number, 1 or more")
        if self.stride > 1 and self.flat and not self.neighbours:
            raise ValueError(f"stride is {self.stride}, but samples have no neighbours; give 1, or neighbours above 0")
        if self.alone and not self.neighbours:
            raise ValueError(f"alone is {self.alone}, but samples have no neighbours; give 0, or neighbours above 0")
        if len(self.images) != len(self.labels) or not len(self.labels):
            raise ValueError(f"there are {len(self.images)} images and {len(self.labels)} labels; give equally many")
        for image, volume in zip(self.images, self.labels, strict=True):
            if image.ndim != 4 or image.shape[1:] != volume.shape:
                raise ValueError(
                    f"an image has shape {image.shape} and its labels {volume.shape}; give (C, Z, Y, X) and (Z, Y, X)"
                )
            if self.neighbours and len(image) != 1:
                raise ValueError(
                    f"neighbours is {self.neighbours}, but an image has {len(image)} channels; give images of one"
                )
            if self.mirrored is None:
                for axes in ORIENTATIONS if self.turned else ORIENTATIONS[:1]:
                    check_crop_fits(self.crop[1:] if self.flat else self.crop, [volume.shape[axis] for axis in axes])


def check_crop_fits(crop: Sequence[int], shape: Sequence[int]) -> None:
    """Refuse a crop, (y, x) or (z, y, x), that is larger than a volume of that shape."""
    if any(n < c for n, c in zip(reversed(shape), reversed(crop), strict=False)):
        raise ValueError(
            f"crop {tuple(crop)} is larger than a volume of {tuple(shape)}; give a smaller crop, or mirrored=0"
        )


class _Strata:
    """Where the voxels of each phase and class of thickness lie in a volume, by the numbers in each slice."""

    def __init__(self, labels: np.ndarray) -> None:
        self.classes = thickness_classes(labels)
        n = len(RADII) + 1
        # Slice by slice, for wider numbers than these bytes would fill the memory.
        tables = [
            np.bincount((plane.astype(np.intp) * n + kind).ravel(), minlength=(IGNORED + 1) * n)
            for plane, kind in zip(labels, self.classes, strict=True)
        ]
        self.counts = np.stack(tables).reshape(len(labels), IGNORED + 1, n)[:, :IGNORED]
        self.present = self.counts.any(axis=0)
        if not self.present.any():
            raise ValueError(f"every voxel of a volume is labelled {IGNORED}; label some, or leave the volume out")

    def draw(self, labels: np.ndarray, rng: np.random.Generator) -> tuple[int, int, int]:
        """Draw a voxel (z, y, x): its phase, then its class, then itself."""
        phase = int(rng.choice(np.flatnonzero(self.present.any(axis=1))))
        kind = int(rng.choice(np.flatnonzero(self.present[phase])))
        upto = np.cumsum(self.counts[:, phase, kind])
        rank = int(rng.integers(upto[-1]))
        z = int(np.searchsorted(upto, rank, side="right"))
        inside = np.flatnonzero((labels[z] == phase) & (self.classes[z] == kind))
        y, x = np.unravel_index(inside[rank - (upto[z - 1] if z else 0)], labels.shape[1:])
        return z, int(y), int(x)


def thickness_classes(labels: np.ndarray) -> np.ndarray:
    """Return how thick each voxel's phase is around it, in classes that double.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        Phases, each taken by itself; a label 255 is as good as another.

    Returns
    -------
    ndarray of uint8, shape (Z, Y, X)
        How many of the radii 2, 3, 5, 9 and 17 a ball around some voxel may have that holds this voxel's centre and no
        voxel centre of another phase: slabs of up to 2 planes are of class 0, of 3 or 4 of class 1, of 5 to 8 of class
        2, to 16 of 3, to 32 of 4, thicker ones of 5. Balls may reach beyond the volume's faces.

    Raises
    ------
    ValueError
        If the labels are not a volume of uint8.

    References
    ----------
    .. [1] T. Hildebrand, P. Rüegsegger, "A new method for the model-independent assessment of thickness in
       three-dimensional images", J. Microsc. 185 (1997) 67-75: the local thickness, here in steps.
    """
    import edt

    if labels.ndim != 3 or labels.size == 0 or labels.dtype != np.uint8:
        raise ValueError(f"labels have shape {labels.shape} and type {labels.dtype}; give a volume (z, y, x) of uint8")
    # The transform takes 0 as outside of everything, and this phase is as good as another.
    distance = edt.edt(np.ascontiguousarray(labels, np.uint16) + np.uint16(1), black_border=False, parallel=1)
    classes = np.zeros(labels.shape, np.uint8)
    for radius in RADII:
        outside = distance < radius
        if outside.all():
            break
        # A ball that holds one phase stays in it, so all phases grow together.
        classes += edt.edt(outside, black_border=False, parallel=1) < radius if outside.any() else np.uint8(1)
    return classes


def _window(start: int, side: int, size: int) -> Any:
    """Return which voxels of an axis lie in a crop; beyond the ends those of its mirror image."""
    if start >= 0 and start + side <= size:
        return slice(start, start + side)
    folded = np.arange(start, start + side) % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)


def _turn(labels: np.ndarray, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mirror and transpose within the slice; never along z, where shine-through has a direction."""
    for axis in (1, 2):
        if rng.random() < 0.5:
            labels, image = np.flip(labels, axis), np.flip(image, axis + 1)
    if rng.random() < 0.5:
        labels, image = labels.swapaxes(1, 2), image.swapaxes(2, 3)
    return labels, image


def _enlarged(labels: np.ndarray, image: np.ndarray, crop: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return slices and their image, (1, y, x) and (C, z, y, x), at the size of the crop."""
    if labels.shape[1:] == tuple(crop[1:]):
        return labels, image
    small = torch.from_numpy(np.ascontiguousarray(labels))[None]
    larger = torch.nn.functional.interpolate(small, size=tuple(crop[1:]), mode="nearest-exact")[0].numpy()
    flat = torch.from_numpy(image)
    return larger, torch.nn.functional.interpolate(flat, size=tuple(crop[1:]), mode="bilinear").numpy()


def _regreyed(grey: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Return (Z, Y, X) grey values as other instruments might show them."""
    gain = rng.uniform(0.85 - 0.15 * strength, 1.15 + 0.15 * strength)
    offset = rng.uniform(-0.1 - 0.1 * strength, 0.1 + 0.1 * strength)
    gamma = np.exp(rng.uniform(-0.25 - 0.25 * strength, 0.25 + 0.25 * strength))
    if strength > 0:
        # Noise before blur is grainy, after it sharp.
        changes = (_blurred, _noisy) if rng.random() < 0.5 else (_noisy, _blurred)
        for change in changes:
            grey = change(grey, rng, strength)
    grey = np.sign(grey) * np.abs(grey) ** gamma * gain + offset
    return _drifted(grey, rng, strength) if strength > 0 else grey


def _blurred(grey: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    width = rng.uniform(0, MOST_BLUR * strength)
    # X-rays blur in all directions, electrons within the slice.
    along_z = width if rng.random() < 0.5 else 0
    return gaussian_filter(grey, (along_z, width, width), mode="nearest")


def _noisy(grey: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    level = rng.uniform(0, MOST_NOISE * strength)
    return grey + np.float32(level) * rng.standard_normal(grey.shape, np.float32)


def _drifted(grey: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    level = rng.uniform(0, MOST_DRIFT * strength)
    gain, offset = level * rng.standard_normal((2, len(grey), 1, 1), np.float32)
    return grey * (1 + gain) + offset


def _check_crop(crop: Sequence[int]) -> tuple[int, int, int]:
    if len(crop) not in (2, 3) or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in crop):
        raise ValueError(f"crop is {tuple(crop)}; give two or three whole numbers above 0")
    z, y, x = (1, *crop) if len(crop) == 2 else tuple(crop)
    if y != x:
        raise ValueError(f"crop is {tuple(crop)}; its y and x sides must be equal, because crops are turned")
    return z, y, x


def _share(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}; give a number from 0 to 1")
    return float(value)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is {value!r}; give a whole number, 0 or more")
    return value
