"""Reading and writing volumes: the format follows from the name, every fault becomes one sentence."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volume.errors import MissingVolumeError, VolumeFileError, in_one_sentence
from volume.formats.registry import Format, accepted_suffixes, choose_for_reading, choose_for_writing
from volume.lazy import LazyVolume, to_native
from volume.model import Volume
from volume.note import to_note

__all__ = ["accepted_suffixes", "open_lazily", "read", "write", "write_slabs"]


def read(path: str | Path, *, voxel_size_um: Any = None) -> Volume:
    """Read a volume from a file or a folder.

    Parameters
    ----------
    path : path-like
        Multi-page TIFF, OME-TIFF or ImageJ TIFF (``.tif``, ``.tiff``, ``.btf``), OME-Zarr (``.zarr``), HDF5 (``.h5``,
        ``.hdf5``), ``.npy``, NRRD (``.nrrd``, ``.nhdr``), MetaImage (``.mha``, ``.mhd``), raw (``.raw`` with its
        ``.json``), one PNG or JPEG image, or a folder of TIFF, PNG or JPEG slices, taken in natural order.
    voxel_size_um : sequence of three numbers, optional
        Size of a voxel along (z, y, x) in micrometres; wins over what the file says.

    Returns
    -------
    Volume
        Array of shape (Z, Y, X) in the file's own type and the machine's byte order; booleans become ``uint8``.
        ``voxel_size_um`` is ``None`` if the file does not state all three: no size is made up.

    Raises
    ------
    VolumeFileError
        A ``ValueError``: unknown kind, empty, truncated or damaged file, colour images, channels or time points,
        slices of unequal size, values that are not finite. `MissingVolumeError` (also a ``FileNotFoundError``) if
        there is nothing at `path`.
    ValueError
        `voxel_size_um` is not three positive numbers.
    """
    path = Path(path)
    file_format = _format_of(path)
    with in_one_sentence(path, file_format.NAME):
        found = file_format.read(path)
        array = to_native(found.array)
        found = Volume(array, found.voxel_size_um, found.phases)
    _refuse_not_finite(array, f"'{path}'")
    return found if voxel_size_um is None else Volume(array, voxel_size_um, found.phases)


@contextlib.contextmanager
def open_lazily(path: str | Path, *, voxel_size_um: Any = None) -> Iterator[LazyVolume]:
    """Open a volume that may be larger than memory: ``with open_lazily(path) as volume: volume[10:20]``.

    Parameters
    ----------
    path : path-like
        As for `read`. NRRD, MetaImage and single pictures, tiled TIFF, and arrays whose axes are not in the order
        z, y, x are read as a whole.
    voxel_size_um : sequence of three numbers, optional
        As for `read`.

    Yields
    ------
    LazyVolume
        Of the same shape, type and values as `read` gives.

    Raises
    ------
    VolumeFileError
        As `read`; what can be known from the voxels alone is refused when they are read.
    ValueError
        `voxel_size_um` is not three positive numbers.
    """
    path = Path(path)
    file_format = _format_of(path)
    with contextlib.ExitStack() as stack:
        opening = getattr(file_format, "open_lazily", None)
        if opening is None:
            whole = read(path)
            planes, size, phases = whole.array, whole.voxel_size_um, whole.phases
        else:
            with in_one_sentence(path, file_format.NAME):
                planes, size, phases = stack.enter_context(opening(path))
        _refuse_no_numbers(planes, path)
        yield LazyVolume(planes, path, kind=file_format.NAME, voxel_size_um=voxel_size_um or size, phases=phases)


def _format_of(path: Path) -> Format:
    if not path.exists():
        raise MissingVolumeError(f"'{path}' does not exist; give the path of a volume's file or folder")
    file_format = choose_for_reading(path)
    if path.is_file() and path.stat().st_size == 0:
        raise VolumeFileError(f"'{path}' is empty (0 bytes); it was probably not written to the end")
    return file_format


def _refuse_no_numbers(planes: Any, path: Path) -> None:
    """Refuse what is no volume, in the words of `Volume`, without reading it."""
    with in_one_sentence(path, choose_for_reading(path).NAME):
        Volume(np.broadcast_to(np.zeros((), planes.dtype), tuple(planes.shape)))


def write(path: str | Path, volume: Any) -> None:
    """Write a volume; the file or folder is either complete or absent.

    Parameters
    ----------
    path : path-like
        Its suffix chooses the format, see `read`: ``.ome.tif`` is OME-TIFF, ``.tif`` a TIFF that ImageJ understands. A
        name without a suffix becomes a folder of TIFF slices. What was there before is replaced at the very end.
    volume : Volume or array_like of shape (Z, Y, X)
        The type is kept exactly; booleans become ``uint8``. Voxel size and phases are kept in every format. The
        attributes ``voxel_size_um`` and ``phases`` of other array-likes are used if they have them.

    Raises
    ------
    VolumeFileError
        A ``ValueError``: unknown suffix, a type that the format cannot hold, values that are not finite, a place that
        cannot be written to, or a folder in the way that holds something else.
    """
    path = Path(path)
    file_format = choose_for_writing(path)
    if not isinstance(volume, Volume):
        volume = Volume(volume, getattr(volume, "voxel_size_um", None), getattr(volume, "phases", None))
    volume = Volume(to_native(volume.array), volume.voxel_size_um, volume.phases)
    if volume.array.dtype.name not in file_format.DTYPES:
        raise VolumeFileError(
            f"'{path}': {file_format.NAME} cannot hold {volume.array.dtype.name}; it accepts "
            f"{', '.join(file_format.DTYPES)}: convert the array or choose another format"
        )
    _refuse_not_finite(volume.array, f"the volume for '{path}'")
    try:
        file_format.write(path, volume)
    except OSError as error:
        raise VolumeFileError(f"cannot write '{path}' ({error.strerror or error}); choose another place") from error


def write_slabs(
    path: str | Path,
    slabs: Iterable[np.ndarray],
    *,
    shape: Sequence[int],
    dtype: Any = np.uint8,
    voxel_size_um: Any = None,
    phases: Any = None,
) -> None:
    """Write a volume that is larger than memory, as OME-Zarr or TIFF; it is either complete or absent.

    Parameters
    ----------
    path : path-like
        Ends in ``.zarr``, ``.tif``, ``.ome.tif`` or ``.btf``. What was there before is replaced at the very end.
    slabs : iterable of array_like
        ``(planes, Y, X)`` of any number of planes, from the first plane to the last, of the type `dtype`. No more than
        128 planes (of Zarr) and one slab are held at a time.
    shape : three ints
        ``(Z, Y, X)`` of the whole.
    dtype : dtype
        Of the whole, labels unless given; booleans become ``uint8``.
    voxel_size_um : sequence of three numbers, optional
        Size of a voxel along (z, y, x) in micrometres.
    phases : sequence of str, optional
        Names indexed by label.

    Raises
    ------
    VolumeFileError
        A ``ValueError``: another suffix, a slab of another plane or type, too few or too many planes, values that are
        not finite, a place that cannot be written to.
    """
    path = Path(path)
    file_format: Any = choose_for_writing(path)
    if not hasattr(file_format, "write_slabs"):
        raise VolumeFileError(f"'{path}' cannot be written slab by slab; give a name that ends in .zarr or .tif")
    whole = _whole_shape(shape)
    kind = np.dtype(np.uint8 if np.dtype(dtype) == np.bool_ else dtype).newbyteorder("=")
    if kind.name not in file_format.DTYPES:
        raise VolumeFileError(f"'{path}': {file_format.NAME} cannot hold {kind.name}; convert the slabs")
    # A volume of one voxel checks what is said of all of them.
    about = Volume(np.zeros((1, 1, 1), kind), voxel_size_um, phases)
    try:
        checked = _checked_slabs(slabs, path, whole=whole, like=about)
        file_format.write_slabs(path, checked, shape=whole, dtype=kind, note=to_note(about))
    except OSError as error:
        raise VolumeFileError(f"cannot write '{path}' ({error.strerror or error}); choose another place") from error


def _whole_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    lengths = tuple(shape)
    if len(lengths) != 3 or not all(isinstance(n, int | np.integer) and n >= 1 for n in lengths):
        raise VolumeFileError(f"shape is {shape!r}; give three whole lengths (z, y, x) of at least 1 voxel")
    return int(lengths[0]), int(lengths[1]), int(lengths[2])


def _checked_slabs(
    slabs: Iterable[np.ndarray], path: Path, *, whole: tuple[int, int, int], like: Volume
) -> Iterator[np.ndarray]:
    done = 0
    for slab in slabs:
        native = to_native(np.asarray(slab))
        if native.ndim != 3 or native.shape[1:] != whole[1:] or done + len(native) > whole[0]:
            raise VolumeFileError(
                f"'{path}': a slab of shape {native.shape} came at plane {done}; it does not fit into {whole}"
            )
        if native.dtype != like.array.dtype:
            raise VolumeFileError(
                f"'{path}': a slab holds {native.dtype.name} instead of {like.array.dtype.name}; convert it"
            )
        _refuse_not_finite(native, f"a slab for '{path}'")
        if native.size:
            # Refuses a label without a name.
            Volume(native, phases=like.phases)
        done += len(native)
        yield native
    if done != whole[0]:
        raise VolumeFileError(f"'{path}': the slabs hold {done} planes of {whole[0]}; nothing was written")


def _refuse_not_finite(array: np.ndarray, where: str) -> None:
    if array.dtype.kind != "f":
        return
    # Slice by slice, so that the mask of a large volume never exists as a whole.
    wrong = sum(plane.size - int(np.count_nonzero(np.isfinite(plane))) for plane in array)
    if wrong:
        raise VolumeFileError(
            f"{where} holds {wrong} value{'s' if wrong > 1 else ''} of {array.size} that "
            f"{'are' if wrong > 1 else 'is'} not finite (NaN or infinite); crop or fill them first"
        )
