"""A random forest that labels pixels by their surroundings, learnt from scribbles: as Labkit and ilastik do."""

import dataclasses
import json
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch import replace_when_complete
from segment.classical.markers import UNKNOWN
from segment.classical.pixel_features import FeatureSettings, pixel_features
from segment.thresholds import check_grey
from volume import Volume

__all__ = ["PixelForest"]

# Of a block without its halo, at most.
BLOCK_SIDES = {3: (96, 96, 96), 2: (4, 384, 384)}
PERCENTILES = (1, 99)
GREY_RANGE = (-0.5, 1.5)
SUBSET = 4e6
MOST_TREES = 1000
MOST_SAMPLES = 1_000_000

Block = tuple[slice, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class PixelForest:
    """A forest of decision trees on features of a voxel's surroundings.

    It is made by `PixelForest.fit` or `PixelForest.load`. Grey values are scaled so that a volume's 1st and 99th
    percentiles are 0 and 1, so that a forest serves other volumes of the same kind too; volumes are worked on block by
    block, each with as much of its surroundings as the features look at, so that the result is that of the
    whole, byte for byte, and the memory does not grow with the volume. Beyond its faces a volume is continued by its
    outermost voxels.

    Attributes
    ----------
    settings : FeatureSettings
        What the forest looks at.
    n_phases : int
        How many phases it knows.
    roots : ndarray of int64, shape (T,)
        Number of each tree's first node.
    children : ndarray of int32, shape (M, 2)
        Nodes to go to where a feature is up to the threshold, and above it; -1 twice in a leaf.
    feature : ndarray of int32, shape (M,)
        Column of `segment.classical.pixel_features.pixel_features` that a node asks for.
    threshold : ndarray of float64, shape (M,)
        What it is compared with.
    share : ndarray of float32, shape (M, n_phases)
        Share of each phase among a node's training samples.

    References
    ----------
    .. [1] M. Arzt et al., "LABKIT: labeling and segmentation toolkit for big image data", Front. Comput. Sci. 4 (2022)
       777728; used by the utile_pore paper.
    .. [2] S. Berg et al., "ilastik: interactive machine learning for (bio)image analysis", Nat. Methods 16 (2019)
       1226-1232.
    .. [3] L. Breiman, "Random forests", Machine Learning 45 (2001) 5-32.
    """

    settings: FeatureSettings
    n_phases: int
    roots: np.ndarray
    children: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    share: np.ndarray

    @classmethod
    def fit(
        cls,
        grey: Any,
        labels: Any,
        *,
        settings: FeatureSettings | None = None,
        n_trees: int = 100,
        samples_per_phase: int = 5000,
        rng: np.random.Generator | int,
    ) -> "PixelForest":
        """Learn from labelled voxels.

        Parameters
        ----------
        grey : array-like, shape (Z, Y, X), or list of such
            Grey values of any scale; arrays that are read from a file as they are sliced will do.
        labels : array-like of int, shape (Z, Y, X), or list of such
            The phase, from 0, where it is known; 255 elsewhere. A few strokes or slices suffice.
        settings : FeatureSettings, optional
            What to look at; scales of 1, 2 and 4 voxels in three dimensions unless given.
        n_trees : int
            From 1 to 1000.
        samples_per_phase : int
            How many voxels of each phase are drawn at most, from all volumes together, each as likely as the other, up
            to a million. Equally many of each phase, so that a rare one is not overlooked.
        rng : Generator or int
            Draws the samples and grows the trees. The same seed gives the same forest, on any number of processors.

        Returns
        -------
        PixelForest

        Raises
        ------
        ValueError
            If labels do not fit the grey values or leave a phase out, a number is out of range, or a volume is
            constant, not three-dimensional or holds NaN.
        """
        from sklearn.ensemble import RandomForestClassifier

        settings = settings or FeatureSettings()
        _check_number("n_trees", n_trees, MOST_TREES)
        _check_number("samples_per_phase", samples_per_phase, MOST_SAMPLES)
        rng = np.random.default_rng(rng)
        volumes, marked = _pair_up(grey, labels)
        where, phases = _draw_samples(marked, samples_per_phase, rng)
        rows = np.empty((len(phases), settings.count), np.float32)
        for number, source in enumerate(volumes):
            here = np.flatnonzero(where[:, 0] == number)
            if here.size:
                rows[here] = _features_at(source, where[here, 1:], settings)
        model = RandomForestClassifier(
            n_trees, min_samples_leaf=2, n_jobs=-1, random_state=int(rng.integers(2**31))
        ).fit(rows, phases)
        return cls(settings, int(phases.max()) + 1, **_flatten([tree.tree_ for tree in model.estimators_]))

    def predict(self, grey: Any, *, out: Any = None) -> np.ndarray:
        """Label a volume.

        Parameters
        ----------
        grey : array-like, shape (Z, Y, X)
            Grey values of any scale; an array that is read from a file as it is sliced (Zarr, HDF5, dask, memory map)
            is never read as a whole.
        out : array, shape (Z, Y, X), optional
            Where to write the labels, such as a Zarr array or a memory map; a new array of uint8 unless given.

        Returns
        -------
        ndarray of uint8, shape (Z, Y, X), or `out`
            The phase of the largest probability, the first of equal ones.

        Raises
        ------
        ValueError
            If `out` has another shape, or the volume is constant, not three-dimensional or holds NaN.
        """
        source = _as_source(grey)
        result = _check_out(out, source.shape, np.uint8)
        for block, votes in self._votes(source):
            result[block] = votes.argmax(-1).astype(np.uint8)
        return result

    def probability(self, grey: Any, *, out: Any = None) -> np.ndarray:
        """Return the probability of each phase.

        Parameters
        ----------
        grey : array-like, shape (Z, Y, X)
            As for `predict`.
        out : array, shape (n_phases, Z, Y, X), optional
            Where to write; a new array of float32 unless given.

        Returns
        -------
        ndarray of float32, shape (n_phases, Z, Y, X), or `out`
            Mean over the trees of the phase's share among the training samples of the same leaf. They add up to one.
            They answer to phases that are equally frequent, as the samples were.

        Raises
        ------
        ValueError
            As `predict`.
        """
        source = _as_source(grey)
        result = _check_out(out, (self.n_phases, *source.shape), np.float32)
        for block, votes in self._votes(source):
            result[(slice(None), *block)] = np.moveaxis(votes, -1, 0).astype(np.float32)
        return result

    def save(self, path: str | Path) -> None:
        """Write the forest to a file ``.npz`` of plain arrays, all or nothing."""
        arrays = {name: getattr(self, name) for name in ("roots", "children", "feature", "threshold", "share")}
        described = json.dumps(dataclasses.asdict(self.settings))
        with replace_when_complete(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, settings=np.array(described), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "PixelForest":
        """Read a forest that `save` wrote. Nothing in the file is run; ``ValueError`` if it is not such a file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                held = {name: file[name] for name in file.files}
            described = json.loads(str(held.pop("settings")))
            settings = FeatureSettings(tuple(described["scales_vox"]), described["dims"])
            forest = cls(settings, held["share"].shape[1], **held)
            forest._check_trees()
        except (KeyError, IndexError, TypeError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"'{path}' holds no pixel forest ({error}); give a file that PixelForest.save wrote"
            ) from error
        return forest

    def _votes(self, source: Any) -> Iterator[tuple[Block, np.ndarray]]:
        """Give each block and its probabilities, shape (z, y, x, n_phases)."""
        from segment.classical.compiled import tree_votes

        levels = _grey_levels(source)
        for block in _blocks(source.shape, self.settings.dims):
            rows = _block_features(source, block, levels=levels, settings=self.settings)
            votes = tree_votes(rows, self.roots, self.children, self.feature, self.threshold, self.share)
            yield block, votes.reshape(*(part.stop - part.start for part in block), self.n_phases)

    def _check_trees(self) -> None:
        """Refuse nodes that would lead a walk astray or round in a circle."""
        wanted = {"roots": "int64", "children": "int32", "feature": "int32", "threshold": "float64", "share": "float32"}
        for name, dtype in wanted.items():
            if getattr(self, name).dtype != dtype:
                raise ValueError(f"{name} is not {dtype}")
        count = len(self.share)
        number = np.arange(count)[:, None]
        leaf = (self.children == -1).all(1)
        onward = ((self.children > number) & (self.children < count)).all(1)
        if not (
            self.children.shape == (count, 2)
            and self.feature.shape == self.threshold.shape == (count,)
            and (leaf | onward).all()
            and self.roots.size > 0
            and ((self.roots >= 0) & (self.roots < count)).all()
            and ((self.feature >= 0) & (self.feature < self.settings.count))[~leaf].all()
        ):
            raise ValueError("its trees are damaged")


def _flatten(trees: Sequence[Any]) -> dict[str, np.ndarray]:
    """Return scikit-learn's trees one after the other, in the arrays of a `PixelForest`."""
    sizes = np.array([tree.node_count for tree in trees])
    roots = np.cumsum(sizes) - sizes
    both = [np.stack([tree.children_left, tree.children_right], 1) for tree in trees]
    children = np.concatenate([np.where(pair < 0, -1, pair + root) for pair, root in zip(both, roots, strict=True)])
    # Counts of samples in older versions, shares in newer ones.
    weight = np.concatenate([tree.value[:, 0, :] for tree in trees])
    return {
        "roots": roots.astype(np.int64),
        "children": children.astype(np.int32),
        "feature": np.concatenate([tree.feature for tree in trees]).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in trees]).astype(np.float64),
        "share": (weight / weight.sum(1, keepdims=True)).astype(np.float32),
    }


def _pair_up(grey: Any, labels: Any) -> tuple[list[Any], list[np.ndarray]]:
    greys = list(grey) if isinstance(grey, list | tuple) else [grey]
    marks = list(labels) if isinstance(labels, list | tuple) else [labels]
    if len(greys) != len(marks) or not greys:
        raise ValueError(f"there are {len(greys)} grey volumes and {len(marks)} of labels; give equally many")
    sources, marked = [_as_source(one) for one in greys], [np.asarray(one) for one in marks]
    for source, mark in zip(sources, marked, strict=True):
        if mark.shape != tuple(source.shape) or mark.dtype.kind not in "ui":
            raise ValueError(
                f"labels are {mark.dtype} of shape {mark.shape}; give whole numbers of the grey volume's shape, "
                f"{tuple(source.shape)}"
            )
        if mark.min() < 0 or mark.max() > UNKNOWN:
            raise ValueError(
                f"labels go from {mark.min()} to {mark.max()}; give phases from 0, and {UNKNOWN} where none is known"
            )
    return sources, marked


def _draw_samples(
    labels: Sequence[np.ndarray], per_phase: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return (volume, z, y, x) and the phase of samples, by phase and place."""
    planes = [(number, z) for number, volume in enumerate(labels) for z in range(len(volume))]
    counts = np.stack([np.bincount(labels[number][z].ravel(), minlength=256) for number, z in planes])
    known = np.flatnonzero(counts.sum(0)[:UNKNOWN])
    if known.size < 2 or known[-1] != known.size - 1:
        raise ValueError(f"labels name the phases {known.tolist()}; name at least two, numbered from 0 without a gap")
    where = []
    for phase in known:
        ends = np.cumsum(counts[:, phase])
        ranks = np.sort(rng.choice(ends[-1], min(per_phase, int(ends[-1])), replace=False, shuffle=False))
        plane_of = np.searchsorted(ends, ranks, side="right")
        for plane in np.unique(plane_of):
            number, z = planes[plane]
            first = ends[plane] - counts[plane, phase]
            flat = np.flatnonzero(labels[number][z] == phase)[ranks[plane_of == plane] - first]
            y, x = np.unravel_index(flat, labels[number][z].shape)
            where.append(
                np.stack([np.full(flat.size, number), np.full(flat.size, z), y, x, np.full(flat.size, phase)], 1)
            )
    found = np.concatenate(where)
    return found[:, :4], found[:, 4]


def _features_at(source: Any, places: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """Return the features of the voxels at `places`, shape (N, 3)."""
    levels = _grey_levels(source)
    rows = np.empty((len(places), settings.count), np.float32)
    for block in _blocks(source.shape, settings.dims):
        here = np.flatnonzero(
            np.all([(places[:, i] >= block[i].start) & (places[:, i] < block[i].stop) for i in range(3)], axis=0)
        )
        if here.size:
            # No more of the block than holds samples: a labelled slice costs little.
            low, high = places[here].min(0), places[here].max(0) + 1
            tight = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
            features = _block_features(source, tight, levels=levels, settings=settings)
            rows[here] = features[np.ravel_multi_index(tuple((places[here] - low).T), tuple(high - low))]
    return rows


def _block_features(source: Any, block: Block, *, levels: tuple[float, float], settings: FeatureSettings) -> np.ndarray:
    low, high = levels
    wide = tuple(
        slice(max(0, part.start - reach), min(side, part.stop + reach))
        for part, reach, side in zip(block, settings.halo, source.shape, strict=True)
    )
    own = tuple(slice(part.start - w.start, part.stop - w.start) for part, w in zip(block, wide, strict=True))
    grey = np.asarray(source[wide]).astype(np.float64)
    if not np.isfinite(grey).all():
        raise ValueError("grey values are NaN or infinite; mend or crop the volume first")
    scaled = np.clip((grey - low) / (high - low), *GREY_RANGE).astype(np.float32)
    return pixel_features(scaled, settings, own)


def _blocks(shape: Sequence[int], dims: int) -> Iterator[Block]:
    """Give blocks of nearly equal size, slab by slab."""
    cuts = []
    for side, most in zip(shape, BLOCK_SIDES[dims], strict=True):
        parts = -(-side // most)
        cuts.append([slice(i * side // parts, (i + 1) * side // parts) for i in range(parts)])
    yield from ((z, y, x) for z in cuts[0] for y in cuts[1] for x in cuts[2])


def _grey_levels(source: Any) -> tuple[float, float]:
    """Return the grey values that become 0 and 1, from a regular subset, so that large volumes stay cheap."""
    step = max(1, math.ceil((math.prod(source.shape) / SUBSET) ** (1 / 3)))
    subset = check_grey(np.asarray(source[::step, ::step, ::step])).astype(np.float64)
    low, high = np.percentile(subset, PERCENTILES)
    return (low, high) if low < high else (subset.min(), subset.max())


def _as_source(grey: Any) -> Any:
    """Return something that can be sliced into arrays, without reading it if it is a file's."""
    lazy = all(hasattr(grey, name) for name in ("shape", "dtype", "__getitem__")) and not isinstance(grey, Volume)
    source = grey if lazy else np.asarray(grey)
    if len(source.shape) != 3 or math.prod(source.shape) == 0:
        raise ValueError(f"grey values have shape {tuple(source.shape)}; give one volume (z, y, x)")
    return source


def _check_out(out: Any, shape: tuple[int, ...], dtype: type) -> Any:
    if out is None:
        return np.empty(shape, dtype)
    if tuple(out.shape) != tuple(shape):
        raise ValueError(f"out has shape {tuple(out.shape)}; give one of {tuple(shape)}")
    return out


def _check_number(name: str, value: Any, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 1 <= value <= most:
        raise ValueError(f"{name} is {value!r}; give a whole number from 1 to {most}")
