"""Multi-page TIFF, ImageJ's among them; the voxel size is ImageJ's ``spacing``, resolution tags and unit.

Stored values are returned as they are: neither inverting nor coloured look-up tables are applied, as in ImageJ.
ImageJ leaves ``spacing`` out when it is exactly 1, which cannot be told from not known: such a file has no voxel size.
"""

import contextlib
import logging
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from launch import replace_when_complete
from volume.axes import to_zyx
from volume.errors import VolumeFileError
from volume.formats.npy import DTYPES
from volume.formats.ome_xml import from_ome_xml
from volume.lazy import Pages
from volume.model import Volume
from volume.note import Note, from_note, from_note_text, note_text, to_note
from volume.voxel_size import from_header, micrometres_per

__all__ = ["DTYPES", "IS_FOLDER", "NAME", "SUFFIXES", "open_lazily", "read", "write", "write_slabs"]

NAME = "TIFF"
SUFFIXES = (".tif", ".tiff", ".btf")
IS_FOLDER = False

IMAGEJ_DTYPES = ("uint8", "uint16", "int16", "float32")
MOST_PIXELS_PER_UM = 1e5
IMAGEJ_MOST_BYTES = 2**32 - 2**25  # ImageJ's TIFF has 32-bit offsets
NOTE_KEY = "poreforge"
# What tifffile logs, and goes on with part of the image: description, offsets or lengths of the pixels out of reach.
DAMAGE = re.compile(r"corrupted|failed to reshape|TiffTag (270|273|279|324|325) .*invalid value offset")
RESOLUTION_UNITS_UM = {2: 25.4e3, 3: 1e4}  # inch, centimetre


def read(path: Path) -> Volume:
    """Read the image and, if all three are stated, the voxel size in whichever dialect of TIFF it is."""
    with _open(path) as file:
        array = _read_image(file, path)
        size, phases = _note(file)
    return Volume(array, size, phases)


@contextlib.contextmanager
def open_lazily(path: Path) -> Iterator[tuple[Any, Any, Any]]:
    """Give the image, mapped or page by page where that can be done, the voxel size and the phases."""
    with _open(path) as file:
        size, phases = _note(file)
        pages = _lazy_pages(file, path)
        if isinstance(pages, Pages):
            yield pages, size, phases
            return
    yield pages, size, phases


def _lazy_pages(file: Any, path: Path) -> Any:
    """Return one uncompressed image as a map, compressed pages of slices one by one, and all else read as a whole."""
    images = [series for series in file.series if not series.keyframe.is_reduced]
    _refuse_colour(file, path)
    (first, *others), offset = images, images[0].dataoffset
    if not others and offset is not None and first.keyframe.bitspersample % 8 == 0 and not first.keyframe.is_tiled:
        mapped = np.memmap(path, f"{file.byteorder}{first.dtype.char}", "r", offset, tuple(first.shape))
        return to_zyx(mapped, first.axes, f"'{path}'")
    axes = first.axes.translate(dict.fromkeys(map(ord, "IQ"), "Z"))
    sources = list(first.pages)
    by_slice = not others and axes == "ZYX" and len(sources) == first.shape[0] and None not in sources
    if not by_slice or sources[0].shape != tuple(first.shape[1:]):
        return _read_image(file, path)
    return Pages(sources, lambda page: page.asarray(), shape=first.shape[1:], dtype=first.dtype)


def write(path: Path, volume: Volume) -> None:
    """Write uncompressed pages, so that the file can be mapped into memory and opens everywhere."""
    import tifffile

    options = _imagej_options(volume) if _fits_imagej(path, volume) else _plain_options(path, volume)
    with replace_when_complete(path) as temporary:
        tifffile.imwrite(temporary, volume.array, photometric="minisblack", **options)


def write_slabs(
    path: Path,
    slabs: Iterable[np.ndarray],
    *,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
    note: Mapping[str, Any],
) -> None:
    """Write the same from slabs ``(planes, Y, X)`` of any thickness, one at a time."""
    import tifffile

    about = unwritten(shape, dtype, note)
    options = _imagej_options(about) if _fits_imagej(path, about) else _plain_options(path, about)
    planes = (plane for slab in slabs for plane in slab)
    with replace_when_complete(path) as temporary:
        tifffile.imwrite(temporary, planes, shape=shape, dtype=dtype, photometric="minisblack", **options)
        refuse_rest(planes)


def unwritten(shape: tuple[int, int, int], dtype: np.dtype[Any], note: Mapping[str, Any]) -> Volume:
    """Return a volume of that shape and type that takes no memory, with the note's voxel size and phases."""
    return Volume(np.broadcast_to(np.zeros((), dtype), shape), *from_note(note))


def refuse_rest(planes: Iterator[np.ndarray]) -> None:
    """Ask for the plane after the last, so that who counts the planes can refuse them before the file has its name."""
    for _ in planes:
        raise VolumeFileError("there are more planes than the shape says")


def _fits_imagej(path: Path, volume: Volume) -> bool:
    """Tell whether ImageJ can hold it; of pages one voxel wide or high tifffile mistakes the axes there."""
    return (
        volume.array.dtype.name in IMAGEJ_DTYPES
        and volume.array.nbytes < IMAGEJ_MOST_BYTES
        and min(volume.shape[1:]) > 1
        and path.suffix.lower() != ".btf"
    )


def _imagej_options(volume: Volume) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": "ZYX", NOTE_KEY: note_text(volume)}
    z, y, x = volume.voxel_size_um or (0.0, 0.0, 0.0)
    # The tags are ratios of integers; outside their range the note alone keeps the size.
    if min(y, x) > 1 / MOST_PIXELS_PER_UM and max(y, x) < MOST_PIXELS_PER_UM:
        metadata |= {"spacing": z, "unit": "um"}
        return {"imagej": True, "metadata": metadata, "resolution": (1 / x, 1 / y)}
    return {"imagej": True, "metadata": metadata}


def _plain_options(path: Path, volume: Volume) -> dict[str, Any]:
    big = True if path.suffix.lower() == ".btf" else None  # None: as its size demands
    return {"bigtiff": big, "metadata": {"axes": "ZYX", NOTE_KEY: to_note(volume)}}


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a TIFF after proving that it is complete; what tifffile would only log becomes an error."""
    import tifffile

    _refuse_incomplete_chain(path)
    with _collect_log() as messages, tifffile.TiffFile(path) as file:
        size = path.stat().st_size
        for page in file.pages:
            ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
            if ends and max(ends) > size:
                raise VolumeFileError(f"'{path}' is a truncated TIFF: it has {size} bytes, its pixels need {max(ends)}")
        yield file
    for message in messages:
        if DAMAGE.search(message):
            raise VolumeFileError(f"'{path}' is a damaged or truncated TIFF ({message})")


def _read_image(file: Any, path: Path) -> np.ndarray:
    """Return the one image of an open TIFF as (z, y, x)."""
    images = [series for series in file.series if not series.keyframe.is_reduced]
    _refuse_colour(file, path)
    shapes = {(image.shape, image.dtype) for image in images}
    if len(shapes) > 1:
        listed = ", ".join(" × ".join(map(str, shape)) for shape, _ in list(shapes)[:3])
        raise VolumeFileError(f"'{path}' holds images of unequal size ({listed}); a volume needs equal ones")
    try:
        stack = [to_zyx(image.asarray(), image.axes, f"'{path}'") for image in images]
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        codec = getattr(file.pages[0].compression, "name", "unknown")
        raise VolumeFileError(
            f"'{path}' is compressed with {codec}, for which a decoder is missing; install it with "
            f"'pip install imagecodecs' or save the file without compression"
        ) from error
    # Programs that append slice by slice leave one series of one image for each.
    if len(stack) > 1 and any(len(image) > 1 for image in stack):
        raise VolumeFileError(f"'{path}' holds {len(stack)} volumes; save the one meant into a file of its own")
    return stack[0] if len(stack) == 1 else np.concatenate(stack)


def _refuse_colour(file: Any, path: Path) -> None:
    page = file.pages[0]
    if page.samplesperpixel > 1 or getattr(page.photometric, "name", "") in ("RGB", "YCBCR", "SEPARATED", "CIELAB"):
        raise VolumeFileError(f"'{path}' holds colour (RGB) images; convert them to grey first")


def _note(file: Any) -> Note:
    if file.is_ome:
        return from_ome_xml(file.ome_metadata)
    if file.is_imagej:
        exact, phases = _imagej_note(file)
        return from_header(_imagej_voxel_size(file), exact), phases
    # A plain TIFF has resolution tags at most, which say nothing about z.
    shaped: dict[str, Any] = (file.shaped_metadata or ({},))[0]
    return from_note(shaped.get(NOTE_KEY))


def _imagej_voxel_size(file: Any) -> list[float | None] | None:
    metadata = file.imagej_metadata or {}
    tags = file.pages[0].tags
    named = micrometres_per(metadata.get("unit"))
    tag_unit = tags.valueof(296) if "unit" not in metadata else None
    unit = named or RESOLUTION_UNITS_UM.get(int(tag_unit or 1))
    if unit is None:
        return None
    spacing = metadata.get("spacing")
    depth = float(spacing) * (micrometres_per(metadata.get("zunit")) or unit) if spacing else None
    height = _size_of_pixel(tags.valueof(283), micrometres_per(metadata.get("yunit")) or unit)
    return [depth, height, _size_of_pixel(tags.valueof(282), unit)]


def _size_of_pixel(resolution: tuple[int, int] | None, unit_um: float) -> float | None:
    if not resolution or not all(resolution):
        return None
    pixels, units = resolution
    return units / pixels * unit_um


def _imagej_note(file: Any) -> Note:
    # Line by line: tifffile would turn some values into numbers.
    lines = (file.pages[0].description or "").splitlines()
    text = next((line.partition("=")[2] for line in lines if line.startswith(f"{NOTE_KEY}=")), None)
    return from_note_text(text)


@contextlib.contextmanager
def _collect_log() -> Iterator[list[str]]:
    """Keep tifffile's log off stderr and hand it over instead."""
    messages: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        messages.append(record.getMessage())
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(keep)
    try:
        yield messages
    finally:
        logger.removeFilter(keep)


def _refuse_incomplete_chain(path: Path) -> None:
    """Follow the chain of page directories: tifffile takes a chain that leaves the file for its end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        version = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) == 8 else None
        if version not in (42, 43):
            raise VolumeFileError(f"'{path}' is not a TIFF file; it is damaged or has the wrong suffix")
        big = version == 43
        pointer = f"{order}{'Q' if big else 'I'}"
        offset, seen = (8 if big else 4), set[int]()
        while target := _unpack_at(file, offset, pointer):
            count = _unpack_at(file, target, f"{order}{'Q' if big else 'H'}") if target < size else None
            offset = target + (8 + 20 * count if big else 2 + 12 * count) if count is not None else size
            if offset + struct.calcsize(pointer) > size or target in seen:
                raise VolumeFileError(f"'{path}' is a truncated TIFF: page {len(seen)} lies beyond its {size} bytes")
            seen.add(target)
        if not seen:
            raise VolumeFileError(f"'{path}' is a truncated TIFF: it holds no page")


def _unpack_at(file: BinaryIO, offset: int, form: str) -> int | None:
    file.seek(offset)
    data = file.read(struct.calcsize(form))
    return struct.unpack(form, data)[0] if len(data) == struct.calcsize(form) else None
