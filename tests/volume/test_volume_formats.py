"""Every format gives back what it was given, with NumPy as the oracle."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import volume
from volume import Volume
from volume.formats.registry import FORMATS

NAMES = [
    "v.tif", "v.tiff", "v.btf", "v.ome.tif", "v.ome.tiff", "v.zarr", "v.ome.zarr", "v.h5", "v.hdf5", "v.npy", "v.nrrd",
    "v.nhdr", "v.mha", "v.mhd", "v.raw", "folder",
]  # fmt: skip
COMMON_DTYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64]

# 3 and 4 are the sizes that libraries mistake for colours.
SHAPES = st.tuples(*[st.sampled_from([1, 2, 3, 4, 5, 7])] * 3)
SIZES = st.none() | st.tuples(*[st.floats(1e-9, 1e9, allow_subnormal=False)] * 3)
PHASE_NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), min_size=1, max_size=4, unique=True
)
FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def grey_volumes(draw):
    dtype = draw(st.sampled_from(COMMON_DTYPES))
    if np.dtype(dtype).kind == "f":
        elements = st.floats(-1e6, 1e6, width=32)
    else:
        elements = st.integers(np.iinfo(dtype).min, np.iinfo(dtype).max)
    return Volume(draw(hnp.arrays(dtype, draw(SHAPES), elements=elements)), draw(SIZES))


@st.composite
def label_volumes(draw):
    phases = draw(PHASE_NAMES)
    labels = draw(hnp.arrays(np.uint8, draw(SHAPES), elements=st.integers(0, len(phases) - 1)))
    return Volume(labels, draw(SIZES), phases)


def round_trip(name, original):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new" / name
        volume.write(path, original)
        assert not [entry for entry in path.parent.iterdir() if entry.name.startswith(".")]
        return volume.read(path)


def assert_same(found, original):
    assert found.array.dtype == original.array.dtype
    np.testing.assert_array_equal(found.array, original.array)
    assert found.voxel_size_um == original.voxel_size_um
    assert found.phases == original.phases


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(original=grey_volumes() | label_volumes())
def test_round_trip_keeps_values_type_voxel_size_and_phases(name, original):
    assert_same(round_trip(name, original), original)


@pytest.mark.parametrize("file_format", FORMATS, ids=lambda f: f.NAME)
def test_each_type_that_a_format_claims_is_kept(file_format, tmp_path):
    for suffix in file_format.SUFFIXES if file_format.DTYPES else ():
        for dtype in file_format.DTYPES:
            original = Volume(np.arange(24).reshape(2, 3, 4).astype(dtype), (1, 2, 3))
            path = tmp_path / f"{dtype}-{suffix[1:]}{suffix}"
            volume.write(path, original)
            assert_same(volume.read(path), original)


@pytest.mark.parametrize("name", NAMES)
def test_chunks_and_pages_do_not_show_in_a_larger_volume(name):
    array = np.random.default_rng(1).integers(0, 2**16, (131, 17, 130), dtype=np.uint16)
    assert_same(round_trip(name, Volume(array)), Volume(array))


@pytest.mark.parametrize("name", NAMES)
def test_masks_are_stored_as_uint8(name):
    mask = np.random.default_rng(2).random((3, 4, 5)) > 0.5
    found = round_trip(name, mask)
    assert found.array.dtype == np.uint8
    np.testing.assert_array_equal(found.array, mask)


@pytest.mark.parametrize("name", NAMES)
def test_memory_layout_and_byte_order_do_not_matter(name):
    array = np.arange(2 * 3 * 5, dtype=">u2").reshape(5, 3, 2).transpose(2, 1, 0)[:, ::-1]
    found = round_trip(name, array)
    assert found.array.dtype == np.uint16
    assert found.array.dtype.isnative
    np.testing.assert_array_equal(found.array, array)


@pytest.mark.parametrize("name", NAMES)
def test_writing_again_replaces_volume_voxel_size_and_phases(name, tmp_path):
    volume.write(tmp_path / name, Volume(np.zeros((4, 3, 2), np.uint8), (1, 2, 3), ["pore"]))
    second = Volume(np.arange(8, dtype=np.int16).reshape(2, 2, 2))
    volume.write(tmp_path / name, second)
    assert_same(volume.read(tmp_path / name), second)


@pytest.mark.parametrize("name", NAMES)
def test_voxel_size_given_wins_over_the_file(name, tmp_path):
    volume.write(tmp_path / name, Volume(np.zeros((4, 3, 2), np.uint8), (1, 2, 3), ["pore"]))
    found = volume.read(tmp_path / name, voxel_size_um=[0.4, 0.5, 0.6])
    assert found.voxel_size_um == (0.4, 0.5, 0.6)
    assert found.phases == ("pore",)


def test_what_carries_phases_need_not_be_a_volume(tmp_path):
    class Structure:
        phases = ("pore", "solid")

        def __array__(self, dtype=None, copy=None):
            return np.array([[[0, 1]]], dtype=dtype or np.uint8)

    volume.write(tmp_path / "s.tif", Structure())
    assert volume.read(tmp_path / "s.tif").phases == ("pore", "solid")


def test_a_killed_write_leaves_the_older_file_alone(tmp_path, monkeypatch):
    import tifffile

    original = Volume(np.ones((2, 2, 2), np.uint8))
    volume.write(tmp_path / "v.tif", original)

    def killed(path, *_, **__):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(tifffile, "imwrite", killed)
    with pytest.raises(KeyboardInterrupt):
        volume.write(tmp_path / "v.tif", np.zeros((2, 2, 2), np.uint8))
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.tif"]
    assert_same(volume.read(tmp_path / "v.tif"), original)


@pytest.mark.parametrize("order", [1, -1])
def test_volumes_of_one_name_in_all_formats_do_not_disturb_each_other(order, tmp_path):
    originals = {
        name: Volume(np.full((2, 2, 2), k, np.uint8), (1 + k, 2, 3) if k % 2 else None)
        for k, name in enumerate(NAMES[::order])
    }
    for name, original in originals.items():
        volume.write(tmp_path / name, original)
    for name, original in originals.items():
        assert_same(volume.read(tmp_path / name), original)


def test_npy_leaves_a_handwritten_description_of_a_raw_file_alone(tmp_path):
    (tmp_path / "v.raw").write_bytes(bytes(8))
    (tmp_path / "v.json").write_text('{"shape": [2, 2, 2], "dtype": "uint8", "voxel_size_um": [1, 2, 3]}')
    volume.write(tmp_path / "v.npy", Volume(np.ones((1, 2, 2), np.uint8), (4, 5, 6)))
    assert volume.read(tmp_path / "v.raw").voxel_size_um == (1, 2, 3)
    assert volume.read(tmp_path / "v.npy").voxel_size_um == (4, 5, 6)


def test_imagej_sees_the_voxel_size_of_a_tif(tmp_path):
    import tifffile

    volume.write(tmp_path / "v.tif", Volume(np.zeros((4, 3, 2), np.uint16), (0.05, 0.02, 0.01)))
    with tifffile.TiffFile(tmp_path / "v.tif") as file:
        assert file.imagej_metadata["spacing"] == 0.05
        assert file.imagej_metadata["unit"] == "um"
        pixels, units = file.pages[0].tags["XResolution"].value
        assert pixels / units == pytest.approx(100)
        pixels, units = file.pages[0].tags["YResolution"].value
        assert pixels / units == pytest.approx(50)


def test_a_tif_can_be_mapped_into_memory(tmp_path):
    import tifffile

    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    volume.write(tmp_path / "v.tif", array)
    np.testing.assert_array_equal(tifffile.memmap(tmp_path / "v.tif", mode="r"), array)


def test_ome_zarr_is_ngff_0_5_in_chunks(tmp_path):
    import zarr

    volume.write(tmp_path / "v.ome.zarr", Volume(np.zeros((3, 4, 300), np.uint8), (1, 2, 3)))
    group = zarr.open_group(tmp_path / "v.ome.zarr", mode="r")
    image = group.attrs["ome"]["multiscales"][0]
    assert group.attrs["ome"]["version"] == "0.5"
    assert group.metadata.zarr_format == 3
    assert image["axes"] == [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    assert image["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [1, 2, 3]}]
    assert group["0"].chunks == (3, 4, 128)
    assert group["0"].metadata.dimension_names == ("z", "y", "x")


def test_nrrd_spacing_is_x_y_z_in_millimetres(tmp_path):
    import SimpleITK

    volume.write(tmp_path / "v.nrrd", Volume(np.zeros((4, 3, 2), np.uint8), (3, 2, 1)))
    image = SimpleITK.ReadImage(str(tmp_path / "v.nrrd"))
    assert image.GetSize() == (2, 3, 4)
    assert image.GetSpacing() == pytest.approx((1e-3, 2e-3, 3e-3))
