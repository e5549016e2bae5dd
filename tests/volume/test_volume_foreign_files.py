"""Files that other programs wrote: their layout, their units, and what they do not say."""

import json

import numpy as np
import pytest

import volume

ARRAY = np.arange(5 * 4 * 3, dtype=np.uint16).reshape(5, 4, 3)

UNITS = [
    ("nm", 1e-3), ("nanometer", 1e-3), ("mm", 1e3), ("micron", 1.0), ("microns", 1.0), ("um", 1.0), ("µm", 1.0),
    ("μm", 1.0), ("\\u00B5m", 1.0), ("cm", 1e4), ("inch", 25400.0), ("m", 1e6),
]  # fmt: skip


@pytest.fixture
def tifffile():
    return pytest.importorskip("tifffile")


@pytest.mark.parametrize(("unit", "micrometres"), UNITS)
def test_imagej_tiff_in_any_unit(tifffile, tmp_path, unit, micrometres):
    path = tmp_path / "v.tif"
    ascii_unit = unit.replace("µ", "\\u00B5").replace("μ", "\\u03BC")
    tifffile.imwrite(
        path,
        ARRAY,
        imagej=True,
        resolution=(1 / 4, 1 / 2),
        metadata={"axes": "ZYX", "spacing": 8.0, "unit": ascii_unit},
    )
    found = volume.read(path)
    np.testing.assert_array_equal(found.array, ARRAY)
    assert found.voxel_size_um == pytest.approx((8 * micrometres, 2 * micrometres, 4 * micrometres))


def test_imagej_units_of_y_and_z_may_differ(tifffile, tmp_path):
    metadata = {"axes": "ZYX", "spacing": 8.0, "unit": "um", "yunit": "nm", "zunit": "mm"}
    tifffile.imwrite(tmp_path / "v.tif", ARRAY, imagej=True, resolution=(1 / 4, 1 / 2), metadata=metadata)
    assert volume.read(tmp_path / "v.tif").voxel_size_um == pytest.approx((8e3, 2e-3, 4))


@pytest.mark.parametrize(
    "metadata",
    [
        {"spacing": 2.0},
        {"spacing": 2.0, "unit": "pixel"},
        {"unit": "um"},
        {"spacing": 0.0, "unit": "um"},
    ],
)
def test_imagej_tiff_that_says_too_little_has_no_voxel_size(tifffile, tmp_path, metadata):
    tifffile.imwrite(tmp_path / "v.tif", ARRAY, imagej=True, resolution=(2, 2), metadata={"axes": "ZYX", **metadata})
    assert volume.read(tmp_path / "v.tif").voxel_size_um is None


def test_a_size_changed_by_another_program_wins_over_our_note(tifffile, tmp_path):
    path = tmp_path / "v.tif"
    volume.write(path, volume.Volume(ARRAY, (0.1, 0.2, 0.3)))
    with tifffile.TiffFile(path) as file:
        description = file.pages[0].description
    tifffile.tiffcomment(path, description.replace("spacing=0.1", "spacing=0.7"))
    assert volume.read(path).voxel_size_um == pytest.approx((0.7, 0.2, 0.3))


@pytest.mark.parametrize("resolution", [None, (100, 100)])
@pytest.mark.parametrize("unit", ["NONE", "INCH", "CENTIMETER"])
def test_resolution_tags_alone_invent_no_depth(tifffile, tmp_path, resolution, unit):
    options = {} if resolution is None else {"resolution": resolution, "resolutionunit": unit}
    tifffile.imwrite(tmp_path / "v.tif", ARRAY, photometric="minisblack", metadata=None, **options)
    found = volume.read(tmp_path / "v.tif")
    assert found.voxel_size_um is None
    np.testing.assert_array_equal(found.array, ARRAY)


@pytest.mark.parametrize("name", ["v.ome.tif", "v.tif"])
@pytest.mark.parametrize(("unit", "micrometres"), [("nm", 1e-3), ("µm", 1.0), ("mm", 1e3), ("Å", 1e-4), (None, 1.0)])
def test_ome_tiff_in_any_unit(tifffile, tmp_path, name, unit, micrometres):
    metadata = {"axes": "ZYX", "PhysicalSizeX": 1.5, "PhysicalSizeY": 2.5, "PhysicalSizeZ": 3.5}
    if unit is not None:
        metadata |= {f"PhysicalSize{axis}Unit": unit for axis in "XYZ"}
    tifffile.imwrite(tmp_path / name, ARRAY, ome=True, photometric="minisblack", metadata=metadata)
    found = volume.read(tmp_path / name)
    np.testing.assert_array_equal(found.array, ARRAY)
    assert found.voxel_size_um == pytest.approx([v * micrometres for v in (3.5, 2.5, 1.5)])


@pytest.mark.parametrize(
    "metadata",
    [
        {"PhysicalSizeX": 1.5, "PhysicalSizeY": 2.5},
        {"PhysicalSizeX": 1.5, "PhysicalSizeY": 2.5, "PhysicalSizeZ": 1.0, "PhysicalSizeZUnit": "pixel"},
    ],
)
def test_ome_tiff_without_all_three_sizes_has_none(tifffile, tmp_path, metadata):
    tifffile.imwrite(tmp_path / "v.ome.tif", ARRAY, photometric="minisblack", metadata={"axes": "ZYX", **metadata})
    assert volume.read(tmp_path / "v.ome.tif").voxel_size_um is None


def test_single_channel_and_time_point_are_dropped(tifffile, tmp_path):
    tifffile.imwrite(tmp_path / "v.ome.tif", ARRAY[None, :, None], photometric="minisblack", metadata={"axes": "TZCYX"})
    np.testing.assert_array_equal(volume.read(tmp_path / "v.ome.tif").array, ARRAY)


@pytest.mark.parametrize("axes", ["CZYX", "TZYX"])
def test_channels_and_time_points_are_refused(tifffile, tmp_path, axes):
    tifffile.imwrite(
        tmp_path / "v.ome.tif", np.stack([ARRAY, ARRAY]), photometric="minisblack", metadata={"axes": axes}
    )
    with pytest.raises(ValueError, match=r"2 (channels|time points)"):
        volume.read(tmp_path / "v.ome.tif")


@pytest.mark.parametrize(
    "options", [{"bigtiff": True}, {"byteorder": ">"}, {"compression": "zlib"}, {"rowsperstrip": 1}]
)
def test_layouts_of_tiff_read_alike(tifffile, tmp_path, options):
    tifffile.imwrite(tmp_path / "v.tif", ARRAY, photometric="minisblack", **options)
    np.testing.assert_array_equal(volume.read(tmp_path / "v.tif").array, ARRAY)


def test_pages_appended_one_by_one_are_a_stack(tifffile, tmp_path):
    with tifffile.TiffWriter(tmp_path / "v.tif") as writer:
        for page in ARRAY:
            writer.write(page, photometric="minisblack")
    np.testing.assert_array_equal(volume.read(tmp_path / "v.tif").array, ARRAY)


def test_lzw_is_read_or_named_in_one_sentence(tmp_path):
    image = pytest.importorskip("PIL.Image")
    page = ARRAY[0].astype(np.uint8)
    image.fromarray(page).save(tmp_path / "v.tif", compression="tiff_lzw")
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        with pytest.raises(ValueError, match="compressed with LZW"):
            volume.read(tmp_path / "v.tif")
    else:
        np.testing.assert_array_equal(volume.read(tmp_path / "v.tif").array, page[None])


@pytest.mark.parametrize(("suffix", "dtype"), [(".png", np.uint8), (".png", np.uint16), (".bmp", np.uint8)])
def test_pictures_are_stacked_in_natural_order(tmp_path, suffix, dtype):
    image = pytest.importorskip("PIL.Image")
    stack = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (12, 5, 4)).astype(dtype)
    for number in np.random.default_rng(1).permutation(12):
        image.fromarray(stack[number]).save(tmp_path / f"slice{number}{suffix}")
    (tmp_path / "notes.txt").write_text("not a slice")
    (tmp_path / ".hidden.png").write_bytes(b"not a slice either")
    found = volume.read(tmp_path)
    assert found.array.dtype == dtype
    np.testing.assert_array_equal(found.array, stack)
    assert found.voxel_size_um is None


def test_tiff_slices_of_others_are_stacked_in_natural_order(tifffile, tmp_path):
    for number in (2, 10, 1):
        tifffile.imwrite(tmp_path / f"Scan 07_{number}.TIF", np.full((3, 4), number, np.int16))
    np.testing.assert_array_equal(volume.read(tmp_path).array[:, 0, 0], [1, 2, 10])


def test_jpeg_slices_are_read(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for number in range(2):
        image.fromarray(np.full((16, 16), 100 * number, np.uint8)).save(tmp_path / f"{number}.jpg", quality=100)
    np.testing.assert_allclose(volume.read(tmp_path).array[:, 8, 8], [0, 100], atol=1)


@pytest.mark.parametrize("name", ["v.tif", "v.png"])
def test_one_image_is_a_volume_of_one_slice(tmp_path, name):
    image = pytest.importorskip("PIL.Image")
    page = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image.fromarray(page).save(tmp_path / name)
    np.testing.assert_array_equal(volume.read(tmp_path / name).array, page[None])


@pytest.mark.parametrize("leading", [(), (1,), (1, 1)])
@pytest.mark.parametrize(("unit", "micrometres"), [("nanometer", 1e-3), ("micrometer", 1.0), ("millimeter", 1e3)])
def test_ngff_0_4_with_zarr_2(tmp_path, leading, unit, micrometres):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "v.zarr", mode="w", zarr_format=2)
    for level, scale in enumerate((1, 2)):
        data = ARRAY[::scale, ::scale, ::scale].reshape(*leading, *ARRAY[::scale, ::scale, ::scale].shape)
        array = group.create_array(f"s{level}", shape=data.shape, dtype=data.dtype, chunks=data.shape)
        array[...] = data
    names = "tczyx"[-3 - len(leading) :]
    axes = [
        {"name": name, "type": "space", "unit": unit} if name in "zyx" else {"name": name, "type": "channel"}
        for name in names
    ]
    ones = [1.0] * len(leading)
    levels = [
        {"path": f"s{k}", "coordinateTransformations": [{"type": "scale", "scale": [*ones, 3 * f, 2 * f, 1 * f]}]}
        for k, f in enumerate((1.0, 2.0))
    ]
    whole = [{"type": "scale", "scale": [*ones, 10.0, 10.0, 10.0]}]
    image = {"version": "0.4", "axes": axes, "datasets": levels, "coordinateTransformations": whole}
    group.attrs["multiscales"] = [image]
    found = volume.read(tmp_path / "v.zarr")
    np.testing.assert_array_equal(found.array, ARRAY)
    assert found.voxel_size_um == pytest.approx((30 * micrometres, 20 * micrometres, 10 * micrometres))


def test_ngff_without_units_has_no_voxel_size(tmp_path):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "v.zarr", mode="w", zarr_format=3)
    group.create_array("0", shape=ARRAY.shape, dtype=ARRAY.dtype)[...] = ARRAY
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [3.0, 2.0, 1.0]}]
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    assert volume.read(tmp_path / "v.zarr").voxel_size_um is None


def test_bare_zarr_array_is_read(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(tmp_path / "v.zarr", shape=ARRAY.shape, dtype=ARRAY.dtype)[...] = ARRAY
    np.testing.assert_array_equal(volume.read(tmp_path / "v.zarr").array, ARRAY)


def test_zarr_group_without_an_image_is_refused(tmp_path):
    zarr = pytest.importorskip("zarr")
    zarr.open_group(tmp_path / "v.zarr", mode="w")
    with pytest.raises(ValueError, match="without an OME multiscale image"):
        volume.read(tmp_path / "v.zarr")


def test_hdf5_with_one_volume_under_any_name(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "v.h5", "w") as file:
        dataset = file.create_dataset("group/raw", data=ARRAY)
        dataset.attrs["element_size_um"] = [0.3, 0.2, 0.1]
        file.create_dataset("table", data=np.zeros((4, 4)))
    found = volume.read(tmp_path / "v.h5")
    np.testing.assert_array_equal(found.array, ARRAY)
    assert found.voxel_size_um == (0.3, 0.2, 0.1)


def test_hdf5_axes_are_taken_from_axistags(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "v.h5", "w") as file:
        dataset = file.create_dataset("exported_data", data=ARRAY.transpose(2, 1, 0)[..., None])
        dataset.attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in "xyzc"]})
    np.testing.assert_array_equal(volume.read(tmp_path / "v.h5").array, ARRAY)


def test_hdf5_with_several_volumes_names_them(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["a"], file["b/c"] = ARRAY, ARRAY + 1
    with pytest.raises(ValueError, match=r"'/a', '/b/c'"):
        volume.read(tmp_path / "v.h5")
    with h5py.File(tmp_path / "v.h5", "a") as file:
        file["volume"] = ARRAY + 2
    np.testing.assert_array_equal(volume.read(tmp_path / "v.h5").array, ARRAY + 2)


def test_hdf5_without_a_volume_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file["table"] = np.zeros((4, 4))
    with pytest.raises(ValueError, match="no dataset with three axes"):
        volume.read(tmp_path / "v.h5")


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd"])
def test_simple_itk_image_is_in_millimetres(tmp_path, suffix):
    itk = pytest.importorskip("SimpleITK")
    image = itk.GetImageFromArray(ARRAY)
    image.SetSpacing((0.001, 0.002, 0.003))
    itk.WriteImage(image, str(tmp_path / f"v{suffix}"), useCompression=True)
    found = volume.read(tmp_path / f"v{suffix}")
    np.testing.assert_array_equal(found.array, ARRAY)
    assert found.voxel_size_um == pytest.approx((3, 2, 1))


def test_simple_itk_image_that_knows_no_spacing_has_no_voxel_size(tmp_path):
    itk = pytest.importorskip("SimpleITK")
    itk.WriteImage(itk.GetImageFromArray(ARRAY), str(tmp_path / "v.mha"))
    assert volume.read(tmp_path / "v.mha").voxel_size_um is None


@pytest.mark.parametrize(
    "fields",
    [
        'space dimension: 3\nspace units: "nm" "nm" "nm"\nspace directions: (1,0,0) (0,2,0) (0,0,3)\n',
        'spacings: 1 2 3\nunits: "nm" "nm" "nm"\n',
    ],
)
def test_nrrd_units_are_obeyed(tmp_path, fields):
    pytest.importorskip("SimpleITK")
    head = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 3 4\n{fields}encoding: raw\n\n"
    (tmp_path / "v.nrrd").write_bytes(head.encode() + bytes(range(24)))
    found = volume.read(tmp_path / "v.nrrd")
    np.testing.assert_array_equal(found.array, np.arange(24).reshape(4, 3, 2))
    assert found.voxel_size_um == pytest.approx((3e-3, 2e-3, 1e-3))


def test_handwritten_description_of_a_big_endian_raw_file(tmp_path):
    ARRAY.astype(">u2").tofile(tmp_path / "v.raw")
    note = {"shape": [5, 4, 3], "dtype": "uint16", "byte_order": "big", "voxel_size_um": [1, 2, 3]}
    (tmp_path / "v.json").write_text(json.dumps(note))
    found = volume.read(tmp_path / "v.raw")
    np.testing.assert_array_equal(found.array, ARRAY)
    assert found.voxel_size_um == (1, 2, 3)


def test_unrelated_json_beside_an_npy_is_left_alone(tmp_path):
    np.save(tmp_path / "v.npy", ARRAY)
    (tmp_path / "v.json").write_text('{"operator": "me"}')
    assert volume.read(tmp_path / "v.npy").voxel_size_um is None
    volume.write(tmp_path / "v.npy", volume.Volume(ARRAY, (1, 2, 3)))
    assert volume.read(tmp_path / "v.npy").voxel_size_um == (1, 2, 3)
    assert json.loads((tmp_path / "v.json").read_text()) == {"operator": "me"}
