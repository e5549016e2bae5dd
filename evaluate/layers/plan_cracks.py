"""Cracks in the plan of a layer: where they are, and how large, wide, long and how turned each of them is."""

import math

import numpy as np

__all__ = ["describe_cracks", "number_cracks", "skeleton_lengths"]

# Columns of less than this share of the layer's thickness that is no fibre cannot tell whether they are cracked.
LEAST_FREE = 0.25
EIGHT = np.ones((3, 3), bool)
# The local direction of a centre line is that of its pixels in a window of this many.
WINDOW = 7
# A branch of a skeleton leads somewhere if the ball at its tip stands out of that at its root by more than half.
SPUR = 1.5
PRUNINGS = 4
STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))


def number_cracks(
    mpl: np.ndarray, expected: np.ndarray, thickness: np.ndarray, *, openness: float, pixel: tuple[float, float]
) -> np.ndarray:
    """Find the columns that lack MPL, and number the cracks that they make.

    Parameters
    ----------
    mpl, expected, thickness : ndarray, shape (A, B)
        In each column: voxels of MPL, what there is room for (the layer without its fibres), and of the layer.
    openness : float
        Share of the room that holds no MPL in a column that is cracked.
    pixel : (float, float)
        Distances between columns.

    Returns
    -------
    ndarray of int32, shape (A, B)
        0, or the number of the crack, as a scan meets them; columns that meet at a corner belong together.
    """
    from scipy import ndimage

    decided = expected >= LEAST_FREE * thickness
    cracked = decided & (mpl <= (1 - openness) * expected + 1e-9)
    if decided.any() and not decided.all():
        # A fibre says nothing about the column that it fills: what is nearest to it decides.
        nearest = ndimage.distance_transform_edt(~decided, sampling=pixel, return_distances=False, return_indices=True)
        cracked = cracked[tuple(nearest)]
    numbers, _ = ndimage.label(cracked, EIGHT)
    return numbers.astype(np.int32, copy=False)


def describe_cracks(
    ids: np.ndarray, is_open: np.ndarray, *, pixel: tuple[float, float], names: tuple[str, str]
) -> dict[str, np.ndarray]:
    """Return the columns of the table of cracks, lengths in the unit of `pixel`.

    Parameters
    ----------
    ids : ndarray of int32, shape (A, B)
        0, or the number of the crack; each of 1, 2, … occurs.
    is_open : ndarray of bool, shape (A, B)
        Columns without any MPL.
    pixel : (float, float)
    names : (str, str)
        Of the two axes.
    """
    from evaluate.morphology.thickness import local_thickness

    count = int(ids.max())
    cracked = ids > 0
    where = np.nonzero(cracked)
    own = ids[where]
    pixels = np.bincount(own, minlength=count + 1)[1:]
    # The border is a wall, or a crack that it cuts lengthwise would be as wide as its mirror image makes it.
    walled = np.pad(cracked, 1)[None]
    width = local_thickness(walled, voxel_size_um=(min(pixel), *pixel))[0, 1:-1, 1:-1]
    widest = np.zeros(count + 1)
    np.maximum.at(widest, own, width[where])
    centroids, angles, elongation = _moments(where, own, pixel=pixel, pixels=pixels)
    area = pixels * math.prod(pixel)
    mean_width = np.bincount(own, width[where], count + 1)[1:] / np.maximum(pixels, 1)
    open_area = np.bincount(own, is_open[where], count + 1)[1:] * math.prod(pixel)
    return {
        "id": np.arange(1, count + 1),
        "pixels": pixels,
        "area": area,
        "length": skeleton_lengths(ids, pixel)[1:],
        "mean_width": mean_width,
        "max_width": widest[1:],
        "orientation_deg": angles,
        "elongation": elongation,
        **{f"centroid_{name}": centroids[:, i] for i, name in enumerate(names)},
        "open_area": open_area,
        "open": open_area > 0,
        "touches_border": _at_border(ids, count),
    }


def _moments(
    where: tuple[np.ndarray, ...], own: np.ndarray, *, pixel: tuple[float, float], pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centroids, angles from the second axis towards the first (0 to 180), and ratios of principal axes."""
    n = len(pixels)
    places = [(index + 0.5) * edge for index, edge in zip(where, pixel, strict=True)]
    centroids = np.column_stack([np.bincount(own, place, n + 1)[1:] / pixels for place in places])
    first, second = (place - centroids[own - 1, i] for i, place in enumerate(places))
    # A pixel is a rectangle: it adds a twelfth of its squared edge.
    aa = np.bincount(own, first**2, n + 1)[1:] / pixels + pixel[0] ** 2 / 12
    bb = np.bincount(own, second**2, n + 1)[1:] / pixels + pixel[1] ** 2 / 12
    ab = np.bincount(own, first * second, n + 1)[1:] / pixels
    angles = np.degrees(np.arctan2(2 * ab, bb - aa)) / 2 % 180
    # The remainder of a tiny negative angle rounds to 180 itself.
    angles[angles == 180] = 0
    mean, half = (aa + bb) / 2, np.hypot((bb - aa) / 2, ab)
    return centroids, angles, np.sqrt((mean + half) / (mean - half))


def _at_border(ids: np.ndarray, count: int) -> np.ndarray:
    found = np.zeros(count + 1, bool)
    for edge in (ids[0], ids[-1], ids[:, 0], ids[:, -1]):
        found[edge] = True
    return found[1:]


def skeleton_lengths(ids: np.ndarray, pixel: tuple[float, float]) -> np.ndarray:
    """Return the length of each crack's centre lines with all branches, from tip to tip; shape (count + 1,).

    The centre lines are the skeleton of the crack in the lattice of the pixels. A link of it counts with its part along
    the local direction of the line, so that steps do not lengthen it, and a tip with its distance from the
    crack's edge.
    """
    from scipy import ndimage
    from skimage.morphology import skeletonize

    count = int(ids.max())
    inside = np.pad(ids, 1)
    to_edge = ndimage.distance_transform_edt(inside > 0, sampling=pixel)
    skeleton = _without_spurs(skeletonize(inside > 0), to_edge, pixel)
    first, second = _directions(skeleton, pixel)
    lengths = np.zeros(count + 1)
    for da, db in STEPS:
        here, there = _linked(skeleton, da, db)
        # Directions have no sign: each end says how much of the step lies along the line.
        parts = [np.abs(first[end] * da * pixel[0] + second[end] * db * pixel[1]) for end in (here, there)]
        np.add.at(lengths, inside[here], (parts[0] + parts[1]) / 2)
    links = _count_links(skeleton)
    ends = np.nonzero(skeleton & (links <= 1))
    # Distances are from centre to centre: the edge lies half a pixel before the first centre outside.
    beyond = to_edge[ends] - (np.abs(first[ends]) * pixel[0] + np.abs(second[ends]) * pixel[1]) / 2
    np.add.at(lengths, inside[ends], np.maximum(beyond, 0) * np.where(links[ends] == 0, 2, 1))
    return lengths


def _without_spurs(skeleton: np.ndarray, to_edge: np.ndarray, pixel: tuple[float, float]) -> np.ndarray:
    """Take off the branches that lead no further than into a corner or a notch of the edge."""
    from scipy import ndimage

    for _ in range(PRUNINGS):
        links = _count_links(skeleton)
        joints = skeleton & (links > 2)
        tips = np.nonzero(skeleton & (links == 1))
        if not len(tips[0]) or not joints.any():
            break
        nearest = ndimage.distance_transform_edt(~joints, sampling=pixel, return_distances=False, return_indices=True)
        root = tuple(index[tips] for index in nearest)
        reach = np.hypot(*((a - b) * edge for a, b, edge in zip(tips, root, pixel, strict=True)))
        spur = reach + to_edge[tips] <= SPUR * to_edge[root] + max(pixel)
        # Arms of one joint are neighbours; without those around it they are apart.
        arms, count = ndimage.label(skeleton & ~ndimage.binary_dilation(joints, EIGHT), EIGHT)
        dropped = np.zeros(count + 1, bool)
        dropped[arms[tips][spur]] = True
        dropped[0] = False
        remove = dropped[arms]
        remove[tuple(index[spur] for index in tips)] = True
        if not remove.any():
            break
        skeleton = skeleton & ~remove
    return skeleton


def _count_links(skeleton: np.ndarray) -> np.ndarray:
    links = np.zeros(skeleton.shape, np.int64)
    for step in STEPS:
        for end in _linked(skeleton, *step):
            np.add.at(links, end, 1)
    return links


def _linked(skeleton: np.ndarray, da: int, db: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Return the pixels of a skeleton that have a neighbour at a step, and these neighbours.

    A diagonal step past a pixel of the skeleton is no link: the two steps through that pixel are.
    """
    moved = np.roll(skeleton, (-da, -db), (0, 1))
    both = skeleton & moved
    if da and db:
        both &= ~np.roll(skeleton, -da, 0) & ~np.roll(skeleton, -db, 1)
    here = np.nonzero(both)
    return here, (here[0] + da, here[1] + db)


def _directions(skeleton: np.ndarray, pixel: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the two components, up to a common sign, of the unit vector along the line around each pixel."""
    from scipy import ndimage

    line = skeleton.astype(np.float64)
    offset = np.arange(WINDOW) - WINDOW // 2
    ones = np.ones(WINDOW)

    def total(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        once = ndimage.correlate1d(line, first, axis=0, mode="constant")
        return ndimage.correlate1d(once, second, axis=1, mode="constant")

    n = np.maximum(total(ones, ones), 1)
    a, b = total(offset, ones) / n * pixel[0], total(ones, offset) / n * pixel[1]
    aa = total(offset**2, ones) / n * pixel[0] ** 2 - a * a
    bb = total(ones, offset**2) / n * pixel[1] ** 2 - b * b
    ab = total(offset, offset) / n * pixel[0] * pixel[1] - a * b
    angle = np.arctan2(2 * ab, bb - aa) / 2
    return np.sin(angle), np.cos(angle)
