import tracemalloc

import h5py
import numpy as np
import pytest
import tifffile
import zarr

import volume
from volume import Volume, VolumeFileError, open_lazily, write_slabs

GREY = np.random.default_rng(0).integers(0, 4096, (11, 6, 7)).astype(np.uint16)
NAMES = ["v.tif", "v.ome.tif", "v.btf", "v.zarr", "v.h5", "v.npy", "v.raw", "v.nrrd", "v.mha", "slices"]


def check_like_read(path):
    """Compare every way of slicing with the volume that is read at once."""
    whole = volume.read(path)
    with open_lazily(path) as lazy:
        assert (lazy.shape, len(lazy), lazy.dtype) == (whole.shape, len(whole.array), whole.array.dtype)
        assert (lazy.voxel_size_um, lazy.phases) == (whole.voxel_size_um, whole.phases)
        for window in (
            slice(None), slice(2, 5), slice(-3, None), slice(1, 9, 3), slice(8, 1, -2), slice(4, 4), 3, -1,
            (slice(2, 4), slice(1, 3), slice(None, None, 2)), (5, slice(2)),
        ):  # fmt: skip
            found = lazy[window]
            np.testing.assert_array_equal(found, whole.array[window])
            assert found.dtype == whole.array.dtype
            assert found.dtype.isnative


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_slices_of_each_format_are_those_of_the_volume_read_at_once(name, dtype, tmp_path):
    volume.write(tmp_path / name, Volume(GREY.astype(dtype), (0.5, 0.25, 0.125)))
    check_like_read(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_phases_are_found_without_reading(name, tmp_path):
    volume.write(tmp_path / name, Volume((GREY > 2000).astype(np.uint8), (1, 1, 2), ("pore", "solid")))
    check_like_read(tmp_path / name)


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib"},
        {"compression": "zlib", "imagej": True, "metadata": {"axes": "ZYX"}},
        {"byteorder": ">"},
        {"byteorder": ">", "compression": "zlib"},
        {"tile": (16, 16)},
        {"metadata": None},
        {"metadata": None, "compression": "zlib", "rowsperstrip": 2},
        {"metadata": {"axes": "YXZ"}},
    ],
)
def test_tiff_of_any_layout_is_read_lazily_as_at_once(options, tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", GREY, **({"photometric": "minisblack"} | options))
    check_like_read(tmp_path / "v.tif")


def test_tiff_that_grew_page_by_page_is_read_lazily_as_at_once(tmp_path):
    for plane in GREY:
        tifffile.imwrite(tmp_path / "v.tif", plane, append=True, photometric="minisblack", metadata=None)
    check_like_read(tmp_path / "v.tif")


def test_axes_of_one_element_and_other_orders_are_understood(tmp_path):
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["volume"] = GREY[None, None]
    check_like_read(tmp_path / "v.h5")
    zarr.create_array(tmp_path / "v.zarr", data=GREY[None], chunks=(1, 4, 4, 4))
    check_like_read(tmp_path / "v.zarr")
    np.save(tmp_path / "f.npy", np.asfortranarray(GREY))
    check_like_read(tmp_path / "f.npy")
    np.save(tmp_path / "b.npy", GREY > 2000)
    check_like_read(tmp_path / "b.npy")


def test_chunks_are_told_so_that_each_can_be_unpacked_once(tmp_path):
    zarr.create_array(tmp_path / "v.zarr", data=GREY, chunks=(4, 6, 7))
    with open_lazily(tmp_path / "v.zarr") as lazy:
        assert lazy.chunks == (4, 6, 7)
    volume.write(tmp_path / "v.tif", GREY)
    with open_lazily(tmp_path / "v.tif") as lazy:
        assert lazy.chunks is None


def test_given_voxel_size_wins(tmp_path):
    volume.write(tmp_path / "v.tif", Volume(GREY, (1, 2, 3)))
    with open_lazily(tmp_path / "v.tif", voxel_size_um=(4, 5, 6)) as lazy:
        assert lazy.voxel_size_um == (4, 5, 6)
    with (
        pytest.raises(ValueError, match="three positive numbers"),
        open_lazily(tmp_path / "v.tif", voxel_size_um=(0, 1, 1)),
    ):
        pass


@pytest.mark.parametrize("name", ["v.tif", "v.zarr", "v.h5", "v.npy", "v.raw", "slices"])
def test_memory_is_that_of_what_was_asked_for(name, tmp_path):
    deep = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None], (256, 128, 128))
    volume.write(tmp_path / name, deep)
    with open_lazily(tmp_path / name) as lazy:
        lazy[:1]  # the libraries' own first time
        tracemalloc.start()
        try:
            assert sum(int(lazy[k : k + 8].sum(dtype=np.int64)) for k in range(0, 256, 8)) == 255 * 128 * 128**2
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    # Chunks of 128³ are unpacked as a whole, and HDF5's and Zarr's own buffers are not ours.
    assert peak < (2.2 * 128**3 if name == "v.zarr" else 8 * 128**2 * 6)


@pytest.mark.parametrize("name", ["v.npy", "v.zarr", "v.h5", "v.raw"])
def test_values_that_are_not_finite_are_refused_where_they_are_met(name, tmp_path):
    spoilt = GREY.astype(np.float32)
    volume.write(tmp_path / name, spoilt)
    if name == "v.npy":
        np.save(tmp_path / name, np.where(GREY[4, 2, 3] == GREY, np.nan, spoilt))
    elif name == "v.raw":
        np.where(GREY[4, 2, 3] == GREY, np.float32(np.inf), spoilt).tofile(tmp_path / name)
    elif name == "v.h5":
        with h5py.File(tmp_path / name, "a") as file:
            file["volume"][4, 2, 3] = np.nan
    else:
        zarr.open_group(tmp_path / name)["0"][4, 2, 3] = np.nan
    with (
        open_lazily(tmp_path / name) as lazy,
        pytest.raises(VolumeFileError, match=r"not finite .* in the slices 4 to 4"),
    ):
        [lazy[k] for k in range(len(lazy))]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.touch(), "is empty"),
        (lambda p: p.write_text("no image"), "is not a TIFF"),
        (lambda p: tifffile.imwrite(p, np.zeros((4, 8, 8, 3), np.uint8), photometric="rgb"), "RGB"),
        (
            lambda p: tifffile.imwrite(p, np.zeros((2, 3, 8, 8), np.uint8), imagej=True, metadata={"axes": "TZYX"}),
            "time",
        ),
        (lambda p: tifffile.imwrite(p, np.zeros((2, 8, 8), np.complex64), photometric="minisblack"), "complex64"),
    ],
)
def test_what_cannot_be_read_is_refused_when_it_is_opened(make, reason, tmp_path):
    make(tmp_path / "v.tif")
    with pytest.raises(VolumeFileError, match=reason), open_lazily(tmp_path / "v.tif"):
        pass


def test_compressed_slice_that_is_damaged_is_refused_in_one_sentence(tmp_path):
    tifffile.imwrite(tmp_path / "v.tif", GREY, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(tmp_path / "v.tif") as file:
        start, count = file.pages[6].dataoffsets[0], file.pages[6].databytecounts[0]
    data = bytearray((tmp_path / "v.tif").read_bytes())
    data[start : start + count] = bytes(count)
    (tmp_path / "v.tif").write_bytes(data)
    with open_lazily(tmp_path / "v.tif") as lazy:
        np.testing.assert_array_equal(lazy[:6], GREY[:6])
        with pytest.raises(VolumeFileError, match=r"v.tif' cannot be read as TIFF; it is damaged"):
            lazy[6]


# Slabs into TIFF


@pytest.mark.parametrize("name", ["v.tif", "v.ome.tif", "v.btf"])
@pytest.mark.parametrize("size", [None, (0.5, 0.25, 0.25)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_tiff_written_by_slabs_holds_what_one_written_at_once_does(name, size, dtype, tmp_path):
    values = (GREY % 3).astype(dtype)
    phases = ("pore", "nickel", "ceria") if dtype == np.uint8 else None
    slabs = (values[a:b] for a, b in ((0, 2), (2, 2), (2, 7), (7, 11)))
    write_slabs(tmp_path / name, slabs, shape=values.shape, dtype=dtype, voxel_size_um=size, phases=phases)
    found = volume.read(tmp_path / name)
    np.testing.assert_array_equal(found.array, values)
    assert (found.voxel_size_um, found.phases, found.array.dtype) == (size, phases, dtype)
    volume.write(tmp_path / "once" / name, Volume(values, size, phases))
    assert (tmp_path / name).stat().st_size == (tmp_path / "once" / name).stat().st_size


@pytest.mark.parametrize("count", [1, 10, 12])
def test_tiff_of_another_number_of_planes_than_told_is_refused(count, tmp_path):
    slabs = iter([np.zeros((count, 6, 7), np.uint8)])
    with pytest.raises(VolumeFileError, match=f"{count} planes of 11|does not fit"):
        write_slabs(tmp_path / "v.tif", slabs, shape=(11, 6, 7))
    assert list(tmp_path.iterdir()) == []
