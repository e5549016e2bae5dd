"""The two-stage segmenter: a network on slices or blocks, and a second one that refines what it says."""

import contextlib
import copy
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from tqdm import tqdm

from launch import replace_when_complete
from segment.inference import Answering, Precision, check_precision, choose_device
from segment.multiplanar import LEAST_SIDE, across_planes
from segment.networks import Network, load_network
from segment.preprocessing import Levels, Preprocessing
from segment.slice_order import SliceOrder, check_slices, slices_follow
from segment.thresholds import check_grey
from segment.tiling import fitted_tile, layers_of_tiles, planes_read, predict_slabs, predict_tiled
from segment.trust import (
    ConformalInterval,
    Domain,
    Judgement,
    apply_temperature,
    conformal_interval,
    image_statistics,
    scaled_interval,
)
from volume import from_one_hot

__all__ = ["Segmentation", "Segmenter", "is_undecided", "load", "shipped_models", "shipped_models_like"]

# Of slices of 512 pixels and blocks of 160 voxels in the slice a network's working memory is a few hundred MB; along z
# a layer of blocks is held over the whole slice, so that they are thinner there.
SLICE_TILE, SLICE_OVERLAP = 512, 64
BLOCK_TILE, BLOCK_OVERLAP = (64, 160, 160), 16
# A voxel's longest side, in its shortest ones, up to which it counts as a cube.
MOST_OBLONG = 1.25
# Slices that are read at once.
SLAB = 16
# Feature maps of full resolution that a U-Net holds at once, in units of its first level's channels, and these where a
# network does not tell.
HELD_MAPS, USUAL_WIDTH = 8, 32
COVERAGE = 0.9
# Of the most probable phase, below which a voxel counts as undecided.
SURE = 0.8
DESCRIPTION = "segmenter.json"
WEIGHTS = Path(__file__).parent / "weights"


@dataclasses.dataclass(frozen=True, eq=False)
class Segmentation:
    """What a segmenter says of a volume.

    Parameters
    ----------
    labels : ndarray of uint8, shape (Z, Y, X)
        The most probable phase.
    probability : ndarray of float32, shape (n_phases, Z, Y, X)
        Probability of each phase; they add up to one.
    porosity : float
        Fraction of voxels labelled pore.
    expected_porosity : float
        Mean probability of the pore. Labels lean to the likelier phase where much is undecided; this does not, as far
        as probabilities are calibrated.
    porosity_interval : (float, float)
        Where the true porosity lies with the given coverage, if the volume is like those of the calibration.
    coverage : float
        Of that interval.
    phases : tuple of str
        Name of each label.
    judgement : Judgement or None
        Whether the picture is like those of the training; None if that is not known or the slices are too small.
    """

    labels: np.ndarray
    probability: np.ndarray
    porosity: float
    expected_porosity: float
    porosity_interval: tuple[float, float]
    coverage: float
    phases: tuple[str, ...]
    judgement: Judgement | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Segmenter:
    """One or two trained networks and what was measured of them.

    Parameters
    ----------
    first : Network
        From grey values to phases: 2-D, slice by slice (of 2 k + 1 channels: with k neighbours on both sides), or 3-D.
    refine : Network or None
        3-D network from the first one's probabilities and the grey values to phases.
    phases : tuple of str
        Name of each label.
    porosity_errors : tuple of float
        Predicted minus true porosity on volumes that training never saw; the interval rests on them.
    set_aside : int, (int, int) or None
        How many volumes at the end of each corpus the training left out, or the fold (k, n), if known.
    preprocessing : Preprocessing
        What both networks see of the grey values.
    temperature : float
        Logits are divided by it, so that a probability of 0.8 is right in 80 % of such voxels.
    domain : Domain or None
        What the pictures of the training look like.
    precision : {"float32", "bfloat16"}
        In which the networks compute. ``bfloat16`` is two to four times as fast on processors that have it, and moves a
        probability by some thousandths.
    undecided : tuple of float
        Share of the voxels that were undecided, see `is_undecided`, in each of the volumes of `porosity_errors`: the
        interval is wider where more are. If none is given, it is as wide for all volumes.
    slices : {"auto", "stack", "single"}
        How the networks see the slices: as a stack, in which neighbours tell of one another, or each as a picture by
        itself. ``auto`` looks whether a stack's slices follow on one another. Not saved with the weights.
    turned : bool
        Whether it has learnt from volumes in any of their six orientations, any axis first.
    multiplanar : bool
        Whether a first network on slices looks along all three axes, and the mean of its answers counts
        (`segment.multiplanar`): three times the work. Only of a stack whose slices follow on one another, whose
        sides have 48 voxels or more, and whose voxels are cubes as far as is known.
    """

    first: Network
    refine: Network | None
    phases: tuple[str, ...]
    porosity_errors: tuple[float, ...] = ()
    set_aside: int | tuple[int, int] | None = None
    preprocessing: Preprocessing = Preprocessing()
    temperature: float = 1.0
    domain: Domain | None = None
    precision: Precision = "float32"
    undecided: tuple[float, ...] = ()
    slices: SliceOrder = "auto"
    turned: bool = False
    multiplanar: bool = False

    def __post_init__(self) -> None:
        check_precision(self.precision)
        check_slices(self.slices)
        if self.multiplanar and self.first.dims != 2:
            raise ValueError("multiplanar is set, but the first network is 3-D; it is for networks on slices")

    def on(self, device: str = "auto", *, precision: Precision | None = None) -> "Segmenter":
        """Return the segmenter for another device or precision.

        Parameters
        ----------
        device : str
            ``cpu``, ``cuda``, ``cuda:1`` and so on, or ``auto``: the first accelerator if there is one, else the CPU.
        precision : {"float32", "bfloat16"}, optional
            By default as it is.

        Raises
        ------
        ValueError
            If there is no such device or precision.
        """
        there = choose_device(device)
        networks: Any = copy.deepcopy((self.first, self.refine))
        first, refine = (network and network.to(there) for network in networks)
        return dataclasses.replace(self, first=first, refine=refine, precision=precision or self.precision)

    def for_voxels(self, size_um: Sequence[float] | None) -> "Segmenter":
        """Return the segmenter for voxels of that size; across slices of voxels that are no cubes it does not look."""
        cubes = size_um is None or max(size_um) <= MOST_OBLONG * min(size_um)
        return self if cubes or not self.multiplanar else dataclasses.replace(self, multiplanar=False)

    def for_stack(self, grey: Any) -> "Segmenter":
        """Return the segmenter with `slices` decided for a stack ``(Z, Y, X)``, of which a few slices are read."""
        if self.slices != "auto":
            return self
        return dataclasses.replace(self, slices="stack" if slices_follow(grey) else "single")

    def predict(self, grey: Any) -> Segmentation:
        """Segment a grey volume.

        Parameters
        ----------
        grey : array-like or Volume, shape (Z, Y, X)
            Grey values of any scale; z is the slicing direction.

        Returns
        -------
        Segmentation

        Raises
        ------
        ValueError
            If the volume is constant, not three-dimensional or holds NaN.
        """
        fitting = self.for_voxels(getattr(grey, "voxel_size_um", None))
        if fitting is not self:
            return fitting.predict(grey)
        grey = check_grey(grey)
        probability = np.empty((len(self.phases), *grey.shape), np.float32)
        labels = np.empty(grey.shape, np.uint8)
        for (first, last), slab in zip(self.layers(grey.shape), self.slabs(grey), strict=True):
            probability[:, first:last], labels[first:last] = slab, from_one_hot(slab)
        porosity = float(np.mean(labels == 0))
        found = self.porosity_interval(porosity, float(np.mean(is_undecided(probability))))
        return Segmentation(
            labels,
            probability,
            porosity,
            float(probability[0].mean(dtype=np.float64)),
            (found.low, found.high),
            found.coverage,
            self.phases,
            self.judge(grey),
        )

    def porosity_interval(self, porosity: float, undecided: float) -> ConformalInterval:
        """Return where the true porosity lies, for volumes like those of the calibration.

        Parameters
        ----------
        porosity : float
            As predicted.
        undecided : float
            Share of the voxels that are undecided.

        Returns
        -------
        ConformalInterval
            Of `segment.trust.scaled_interval` with a coverage of 0.9, or less where there are fewer than nine errors;
            of `conformal_interval` if it is not known how many voxels were undecided. Without any error it is [0, 1].
        """
        if not self.undecided:
            return conformal_interval(porosity, self.porosity_errors, coverage=COVERAGE)
        return scaled_interval(porosity, self.porosity_errors, self.undecided, difficulty=undecided, coverage=COVERAGE)

    def judge(self, grey: Any) -> Judgement | None:
        """Say whether a picture is like those of the training; None if that cannot be known.

        Parameters
        ----------
        grey : array-like, shape (Z, Y, X)
            As in `slabs`; a few slices are read.
        """
        # A picture too small to be judged can be segmented all the same.
        with contextlib.suppress(ValueError):
            return self.domain.judge(image_statistics(grey)) if self.domain else None
        return None

    def layers(self, shape: Sequence[int]) -> list[tuple[int, int]]:
        """Return the first plane of each slab of a volume of that shape, and the one after its last."""
        tiles = self._blocks_of_first(shape) if self.refine is None else block_tiles(self.refine, shape)
        if tiles is None:
            return [(first, min(first + SLAB, shape[0])) for first in range(0, shape[0], SLAB)]
        return layers_of_tiles(tiles)

    def slabs(
        self, grey: Any, *, planes: tuple[int, int] | None = None, levels: Levels | None = None
    ) -> Iterator[np.ndarray]:
        """Predict from the first slice to the last, holding a layer of tiles at a time.

        Parameters
        ----------
        grey : array-like, shape (Z, Y, X)
            As in `predict`; what has ``shape``, ``dtype`` and slices (Zarr, HDF5, a memory map) is not read as a whole.
        planes : (int, int), optional
            First plane that is wanted and the one after the last, both ends of `layers`; all by default. A plane's
            probabilities are the same, to the bit, whichever others are wanted.
        levels : Levels, optional
            Of the whole volume, from ``preprocessing.measure``; measured if not given, in a further pass.

        Yields
        ------
        ndarray of float32, shape (n_phases, planes, Y, X)
            Probability of each phase, one slab for each of `layers` that is wanted.

        Raises
        ------
        ValueError
            As `predict`.
        """
        levels = levels or self.preprocessing.measure(grey)
        predict = self._single_slabs if self.for_stack(grey).slices == "single" else self._uncalibrated_slabs
        for probability in predict(grey, levels, planes or (0, grey.shape[0])):
            if self.temperature != 1:
                for k in range(0, probability.shape[1], SLAB):
                    part = probability[:, k : k + SLAB]
                    part[...] = apply_temperature(part, self.temperature)
            yield probability

    def _single_slabs(self, grey: Any, levels: Levels, planes: tuple[int, int]) -> Iterator[np.ndarray]:
        """Predict each slice as a stack of its own."""
        done = tqdm(total=planes[1] - planes[0], desc="pictures", disable=None)
        for first, last in self.layers(grey.shape):
            if not planes[0] <= first < planes[1]:
                continue
            alone = []
            for z in range(first, last):
                alone.append(next(self._uncalibrated_slabs(np.asarray(grey[z : z + 1]), levels, (0, 1))))
                done.update()
            yield np.concatenate(alone, axis=1)
        done.close()

    def _uncalibrated_slabs(self, grey: Any, levels: Levels, planes: tuple[int, int]) -> Iterator[np.ndarray]:
        if self.refine is None:
            slabs = _Forward(self._first_slabs(grey, levels, planes), planes[0])
            for first, last in self.layers(grey.shape):
                if planes[0] <= first < planes[1]:
                    yield slabs(first, last).copy()
            return
        tiles = block_tiles(self.refine, grey.shape)
        inner = planes_read(tiles, planes)
        stack = _Forward(self._stacked_slabs(grey, levels, inner), inner[0])
        yield from predict_slabs(Answering(self.refine, self.precision), stack, **tiles, planes=planes)

    def predict_first(
        self, seen: Iterator[np.ndarray], *, shape: Sequence[int], planes: tuple[int, int] | None = None
    ) -> Iterator[np.ndarray]:
        """Yield the probabilities ``(n_phases, planes, Y, X)`` of the first network, neither refined nor calibrated.

        Parameters
        ----------
        seen : iterator of ndarray
            What the network sees, ``(1, planes, Y, X)``, of all planes that it needs for the wanted ones.
        shape : sequence of int
            ``(Z, Y, X)`` of the whole volume.
        planes : (int, int), optional
            First plane that is wanted and the one after the last; all by default.
        """
        wanted = planes or (0, shape[0])
        answering, blocks = Answering(self.first, self.precision), self._blocks_of_first(shape)
        read = _Forward(seen, self._planes_seen(shape, wanted)[0])
        if blocks is not None:
            predictor = answering if self.first.dims == 3 else across_planes(answering, self._reach)
            with tqdm(total=wanted[1] - wanted[0], desc="slices", disable=None) as done:
                for slab in predict_slabs(predictor, read, **blocks, planes=wanted):
                    done.update(slab.shape[1])
                    yield slab
            return
        tile = slice_tile(self.first, shape)
        overlap = [min(SLICE_OVERLAP, side - 1) for side in tile]
        for z in tqdm(range(*wanted), desc="slices", disable=None if shape[0] > 1 else True):
            first, last = max(0, z - self._reach), min(shape[0], z + self._reach + 1)
            # The outermost slices are repeated beyond the ends of the stack.
            places = np.clip(np.arange(z - self._reach, z + self._reach + 1), 0, shape[0] - 1) - first
            image = read(first, last)[0, places]
            yield predict_tiled(answering, image, tile=tile, overlap=overlap, multiple=self.first.factor)[:, None]

    @property
    def _reach(self) -> int:
        """Neighbours on both sides that a first network on slices sees."""
        return int(self.first.config["in_channels"]) // 2

    def _blocks_of_first(self, shape: Sequence[int]) -> dict[str, Any] | None:
        """Return the tiles of a first stage on blocks, or None of one on slices."""
        on_blocks = self.first.dims == 3 or (self.multiplanar and min(shape) >= LEAST_SIDE)
        return block_tiles(self.first, shape) if on_blocks else None

    def _planes_seen(self, shape: Sequence[int], planes: tuple[int, int]) -> tuple[int, int]:
        """Return which planes the first stage must see to answer for `planes`: the first and the one after the last."""
        blocks = self._blocks_of_first(shape)
        if blocks is not None:
            return planes_read(blocks, planes)
        return max(0, planes[0] - self._reach), min(shape[0], planes[1] + self._reach)

    def _first_slabs(self, grey: Any, levels: Levels, planes: tuple[int, int]) -> Iterator[np.ndarray]:
        seen = self._seen(grey, levels, self._planes_seen(grey.shape, planes))
        yield from self.predict_first(seen, shape=grey.shape, planes=planes)

    def _stacked_slabs(self, grey: Any, levels: Levels, planes: tuple[int, int]) -> Iterator[np.ndarray]:
        """Yield the input of the refining network."""
        seen, first = _Forward(self._seen(grey, levels, planes), planes[0]), planes[0]
        for probability in self._first_slabs(grey, levels, planes):
            last = first + probability.shape[1]
            yield stack_channels(probability, seen(first, last))
            first = last

    def _seen(self, grey: Any, levels: Levels, planes: tuple[int, int]) -> Iterator[np.ndarray]:
        """Yield what the networks see, ``(1, planes, Y, X)``."""
        chunks = getattr(grey, "chunks", None)
        # Of a chunked array each chunk is unpacked once.
        step = -(-int(np.max(chunks[0])) // SLAB) * SLAB if chunks else SLAB
        for first in range(planes[0], planes[1], step):
            raw = np.asarray(grey[first : min(first + step, planes[1])])
            for k in range(0, len(raw), SLAB):
                yield self.preprocessing.apply(raw[k : k + SLAB], levels)[None]

    def memory_bytes(self, shape: Sequence[int]) -> int:
        """Return about how much memory `slabs` needs for a volume of that shape, beside what the program itself takes.

        Notes
        -----
        It does not depend on the depth beyond that of a layer of tiles: what the networks have seen and said of it,
        its sum of weighted answers, a slab on its way out, and the feature maps of one tile.
        """
        depth, plane, n = min(shape[0], SLAB), math.prod(shape[1:]), len(self.phases)
        first, refining = self._blocks_of_first(shape), self.refine and block_tiles(self.refine, shape)
        depth += sum(blocks["tile"][0] for blocks in (first, refining) if blocks)
        held = depth * plane * (4 * n + 2) * 4
        if self.first.dims == 3 and first:
            tile = first["tile"]
        else:
            # Of blocks, too, one slice is looked at after the other.
            tile = sorted(first["tile"])[1:] if first else slice_tile(self.first, shape)
        maps = [_maps(self.first, tile), _maps(self.refine, refining["tile"]) if self.refine and refining else 0]
        return held + 4 * HELD_MAPS * max(maps)

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that change whenever a prediction could."""
        settings = (
            self.phases, self.preprocessing, self.temperature, self.precision, self.slices, self.multiplanar
        )  # fmt: skip
        digest = hashlib.sha256(repr(settings).encode())
        digest.update(repr((SLICE_TILE, SLICE_OVERLAP, BLOCK_TILE, BLOCK_OVERLAP)).encode())
        for network in (self.first, self.refine):
            for name, values in network.state_dict().items() if network else ():
                digest.update(name.encode() + values.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: str | Path) -> None:
        """Write the networks and the calibration to `folder`, all or nothing."""
        description = {
            "phases": list(self.phases),
            "porosity_errors": list(self.porosity_errors),
            "undecided": list(self.undecided),
            "set_aside": self.set_aside,
            "preprocessing": self.preprocessing.kind,
            "temperature": self.temperature,
            "domain": self.domain.as_dict() if self.domain else None,
            "turned": self.turned,
            "multiplanar": self.multiplanar,
        }
        with replace_when_complete(folder) as temporary:
            temporary.mkdir()
            self.first.save_pretrained(temporary / "first")
            if self.refine is not None:
                self.refine.save_pretrained(temporary / "refine")
            (temporary / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load(name_or_folder: str | Path) -> Segmenter:
    """Load a segmenter.

    Parameters
    ----------
    name_or_folder : str or path-like
        Name of a shipped model, or the folder of a training run or of a saved segmenter.

    Returns
    -------
    Segmenter

    Raises
    ------
    ValueError
        If there is no such model (the message lists the shipped ones), or its folder is damaged.
    """
    for folder in (WEIGHTS / name_or_folder, Path(name_or_folder), Path(name_or_folder) / "segmenter"):
        if (folder / DESCRIPTION).is_file():
            break
    else:
        shipped = ", ".join(shipped_models()) or "none"
        raise ValueError(
            f"there is no segmenter '{name_or_folder}'; give a shipped name ({shipped}) or the folder of a training run"
        )
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return Segmenter(
            load_network(folder / "first"),
            load_network(folder / "refine") if (folder / "refine").is_dir() else None,
            tuple(description["phases"]),
            tuple(description["porosity_errors"]),
            description["set_aside"],
            Preprocessing(description["preprocessing"]),
            description["temperature"],
            Domain.from_dict(description["domain"]) if description["domain"] else None,
            undecided=tuple(description["undecided"]),
            turned=description.get("turned", False),
            multiplanar=description.get("multiplanar", False),
        )
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"the segmenter in '{folder}' is damaged or incomplete ({error}); train it again") from error


def shipped_models() -> list[str]:
    """Return the names of the models in the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{DESCRIPTION}"))


def shipped_models_like(grey: Any) -> list[str]:
    """Return the shipped models whose training pictures are like this one, those nearest first.

    Parameters
    ----------
    grey : array-like, shape (Z, Y, X)
        As in `Segmenter.judge`; of a picture too small to be judged no model is known.
    """
    try:
        seen = image_statistics(grey)
    except ValueError:
        return []
    domains = {name: load(name).domain for name in shipped_models()}
    judged = {name: domain.judge(seen) for name, domain in domains.items() if domain}
    return sorted((name for name, found in judged.items() if found.inside), key=lambda name: -judged[name].p_value)


def is_undecided(probability: np.ndarray) -> np.ndarray:
    """Return the voxels ``(…)`` of which no phase of ``(n_phases, …)`` has a probability of 0.8."""
    undecided: np.ndarray = probability.max(axis=0) < SURE
    return undecided


def stack_channels(probability: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Return the input ``(n_phases + 1, Z, Y, X)`` of the refining network."""
    return np.concatenate([probability, grey]).astype(np.float32, copy=False)


def slice_tile(network: Network, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the sides (y, x) of the tiles of a slice."""
    return tuple(fitted_tile(n, SLICE_TILE, SLICE_OVERLAP, network.factor) for n in shape[1:])


def block_tiles(network: Network, shape: Sequence[int]) -> dict[str, Any]:
    """Return the keywords of `predict_slabs` for a network on blocks (z, y, x) of a volume."""
    tile = [fitted_tile(n, most, BLOCK_OVERLAP, network.factor) for n, most in zip(shape, BLOCK_TILE, strict=True)]
    overlap = [min(BLOCK_OVERLAP, side - 1) for side in tile]
    return {"size": shape, "tile": tile, "overlap": overlap, "multiple": network.factor}


def _maps(network: Network, tile: Sequence[int]) -> int:
    """Return how many numbers the widest feature maps of a tile have."""
    return int(network.config.get("width", USUAL_WIDTH)) * math.prod(side + network.factor for side in tile)


class _Forward:
    """Planes of slabs that come one after the other, held only as long as they may be asked for again.

    What a call returns is overwritten by the next one.
    """

    def __init__(self, slabs: Iterator[np.ndarray], start: int) -> None:
        self.slabs, self.first, self.end = slabs, start, start
        self.rest: np.ndarray | None = None
        self.buffer = np.empty((0, 0))

    def __call__(self, first: int, last: int) -> np.ndarray:
        """Return planes ``first`` to ``last`` along axis 1; neither may fall."""
        kept = self.end - first
        old, dropped = self.buffer, first - self.first
        if self.buffer.shape[1] < last - first:
            like = self._next()
            self.buffer = np.empty((like.shape[0], last - first, *like.shape[2:]), like.dtype)
        for k in range(kept):
            self.buffer[:, k] = old[:, k + dropped]
        self.first = first
        while self.end < last:
            part = self._next()
            taken, place = min(part.shape[1], last - self.end), self.end - first
            self.buffer[:, place : place + taken] = part[:, :taken]
            self.rest = part[:, taken:] if taken < part.shape[1] else None
            self.end += taken
        return self.buffer[:, : last - first]

    def _next(self) -> np.ndarray:
        self.rest = next(self.slabs) if self.rest is None else self.rest
        return self.rest
