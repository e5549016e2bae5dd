"""Bad input ends in one sentence that names the file, and in nothing half-written."""

import json

import numpy as np
import pytest

import volume
from volume import Volume

ARRAY = np.random.default_rng(0).integers(0, 255, (12, 30, 31)).astype(np.uint8)


def check_refused(path, *words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are checked below, one by one
        volume.read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    for word in words:
        assert word in message


def test_missing_file_is_both_a_value_error_and_a_file_not_found_error(tmp_path):
    check_refused(tmp_path / "none.tif", "none.tif' does not exist")
    with pytest.raises(FileNotFoundError):
        volume.read(tmp_path / "none.tif")


@pytest.mark.parametrize("name", ["v.tif", "v.npy", "v.h5", "v.mha", "v.raw", "v.png"])
def test_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    check_refused(tmp_path / name, name, "empty")


@pytest.mark.parametrize("name", ["v.tif", "v.ome.tif", "v.npy", "v.h5", "v.mha", "v.nrrd", "v.png"])
def test_a_file_of_another_kind(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is no volume at all, whatever its name says\n" * 20)
    check_refused(tmp_path / name, name)


OPTIONS = {
    "plain": {},
    "imagej": {"imagej": True},
    "ome": {"ome": True},
    "bare": {"metadata": None},
    "zlib": {"compression": "zlib"},
    "bare-zlib": {"compression": "zlib", "metadata": None},
    "big": {"bigtiff": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_truncated_tiff_is_refused_wherever_it_was_cut(tmp_path, options, capfd):
    import tifffile

    path = tmp_path / "v.tif"
    tifffile.imwrite(path, ARRAY, photometric="minisblack", **options)
    whole = path.read_bytes()
    for fraction in (0.0005, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        path.write_bytes(whole[: int(fraction * len(whole))])
        check_refused(path, "v.tif")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["v.tif", "v.ome.tif", "v.npy", "v.h5", "v.mha", "v.nrrd", "v.raw"])
def test_file_cut_in_the_middle_of_its_voxels(tmp_path, name):
    path = tmp_path / name
    volume.write(path, ARRAY)
    if name == "v.raw":
        assert json.loads((tmp_path / "v.json").read_text())["shape"] == [12, 30, 31]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    check_refused(path, name)


def test_damaged_chunk_of_a_zarr_store(tmp_path):
    volume.write(tmp_path / "v.zarr", ARRAY)
    (chunk,) = [file for file in (tmp_path / "v.zarr" / "0").rglob("*") if file.is_file() and file.name != "zarr.json"]
    chunk.write_bytes(chunk.read_bytes()[:100])
    check_refused(tmp_path / "v.zarr", "v.zarr")


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_tiff(tmp_path, channels):
    import tifffile

    tifffile.imwrite(tmp_path / "v.tif", np.zeros((5, 20, 20, channels), np.uint8), photometric="rgb")
    check_refused(tmp_path / "v.tif", "v.tif", "convert them to grey first")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_colour_slices(tmp_path, mode, suffix):
    from PIL import Image

    for number in range(2):
        Image.new(mode, (5, 4)).save(tmp_path / f"{number}{suffix}")
    check_refused(tmp_path, f"0{suffix}", "grey first")


@pytest.mark.parametrize("suffix", [".npy", ".mha"])
def test_colour_in_other_formats(tmp_path, suffix):
    import SimpleITK

    colour = np.zeros((5, 6, 7, 3), np.uint8)
    if suffix == ".npy":
        np.save(tmp_path / "v.npy", colour)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colour, isVector=True), str(tmp_path / "v.mha"))
    check_refused(tmp_path / f"v{suffix}", "grey first")


def test_slices_of_unequal_size_are_named(tmp_path):
    from PIL import Image

    for number, size in enumerate([(5, 4), (5, 4), (6, 4), (7, 7)]):
        Image.new("L", size).save(tmp_path / f"s{number}.png")
    check_refused(tmp_path, "s0.png' is 4 × 5", "'s2.png' is 4 × 6")


def test_slices_of_unequal_type_are_named(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5), np.uint8))
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((4, 5), np.uint16))
    check_refused(tmp_path, "a.tif' is uint8", "'b.tif' is uint16")


def test_pages_of_unequal_size(tmp_path):
    import tifffile

    with tifffile.TiffWriter(tmp_path / "v.tif") as writer:
        writer.write(np.zeros((4, 5), np.uint8))
        writer.write(np.zeros((6, 5), np.uint8))
    check_refused(tmp_path / "v.tif", "unequal size", "4 × 5", "6 × 5")


def test_truncated_slice_is_named(tmp_path):
    from PIL import Image

    for number in range(3):
        Image.fromarray(ARRAY[number]).save(tmp_path / f"{number}.png")
    path = tmp_path / "1.png"
    path.write_bytes(path.read_bytes()[:300])
    check_refused(tmp_path, "1.png")


def test_empty_folder(tmp_path):
    check_refused(tmp_path, str(tmp_path), "is empty")


def test_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing to see")
    check_refused(tmp_path, "no TIFF, PNG or JPEG slices")


def test_folder_of_mixed_images(tmp_path):
    import tifffile
    from PIL import Image

    Image.new("L", (5, 4)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((4, 5), np.uint8))
    check_refused(tmp_path, "mixes PNG and TIFF")


def test_stack_inside_a_folder_of_slices(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", ARRAY)
    tifffile.imwrite(tmp_path / "b.tif", ARRAY)
    check_refused(tmp_path, "a.tif' holds 12 slices")


@pytest.mark.parametrize("name", ["v.xyz", "v", "v.vtk"])
def test_unknown_suffix_lists_the_known_ones(tmp_path, name):
    (tmp_path / name).write_text("something")
    check_refused(tmp_path / name, name, ".tif", ".ome.tif", ".zarr", ".h5", ".npy", ".nrrd", ".mha", ".raw")


def test_unknown_suffix_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"no known format; accepted are .*\.tif"):
        volume.write(tmp_path / "v.xyz", ARRAY)
    with pytest.raises(ValueError, match="reading alone"):
        volume.write(tmp_path / "v.png", ARRAY)
    assert not list(tmp_path.iterdir())


def test_values_that_are_not_finite_are_counted(tmp_path):
    array = np.zeros((2, 3, 4), np.float32)
    array[0, 0, :2], array[1, 2, 3] = np.nan, np.inf
    np.save(tmp_path / "v.npy", array)
    check_refused(tmp_path / "v.npy", "3 values of 24", "NaN")
    with pytest.raises(ValueError, match="3 values of 24"):
        volume.write(tmp_path / "w.npy", array)
    assert not (tmp_path / "w.npy").exists()


def test_complex_and_pickled_arrays(tmp_path):
    np.save(tmp_path / "c.npy", np.zeros((2, 2, 2), complex))
    np.save(tmp_path / "o.npy", np.array([[[None]]]), allow_pickle=True)
    check_refused(tmp_path / "c.npy", "complex128")
    check_refused(tmp_path / "o.npy", "o.npy")


def test_raw_without_a_description_says_what_to_write(tmp_path):
    (tmp_path / "v.raw").write_bytes(bytes(24))
    check_refused(tmp_path / "v.raw", "v.json", "shape", "dtype", "byte_order")


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ({"shape": [2, 3], "dtype": "uint8"}, "shape is [2, 3]"),
        ({"shape": [2, 3, 4], "dtype": "complex64"}, "dtype is 'complex64'"),
        ({"shape": [2, 3, 4]}, "dtype is None"),
        ({"shape": [2, 3, 4], "dtype": "uint8", "byte_order": "middle"}, "byte_order is 'middle'"),
        ({"shape": [2, 3, 4], "dtype": "uint16"}, "takes 48"),
        ({"shape": [2, 3, 4], "dtype": "uint8", "voxel_size_um": [1, 2]}, "voxel_size_um is [1, 2]"),
    ],
)
def test_raw_with_a_wrong_description(tmp_path, note, words):
    (tmp_path / "v.raw").write_bytes(bytes(24))
    (tmp_path / "v.json").write_text(json.dumps(note))
    check_refused(tmp_path / "v.raw", words)


def test_description_that_is_no_json(tmp_path):
    (tmp_path / "v.raw").write_bytes(bytes(24))
    (tmp_path / "v.json").write_text("{shape:")
    check_refused(tmp_path / "v.raw", "v.json", "not valid JSON")


def test_description_of_another_array(tmp_path):
    volume.write(tmp_path / "v.npy", Volume(ARRAY, (1, 2, 3)))
    np.save(tmp_path / "v.npy", ARRAY[:3])
    check_refused(tmp_path / "v.npy", "v.json", "(12, 30, 31)", "(3, 30, 31)")


def test_a_type_that_a_format_cannot_hold_is_refused_with_the_list(tmp_path):
    with pytest.raises(ValueError, match=r"OME-TIFF cannot hold int64; it accepts uint8, .*float32"):
        volume.write(tmp_path / "v.ome.tif", ARRAY.astype(np.int64))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["v.tif", "v.ome.tif", "v.zarr", "v.h5", "v.npy", "v.mha", "v.mhd", "v.raw", "v"])
def test_place_that_cannot_be_written_to(tmp_path, name):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match="cannot write to the output folder"):
        volume.write(tmp_path / "file" / name, ARRAY)


@pytest.mark.parametrize("name", ["results", "results.zarr", "results.tif"])
def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"is a folder"):
        volume.write(tmp_path / name, ARRAY)
    assert (tmp_path / name / "thesis.txt").read_text() == "years of work"


def test_a_file_in_the_way_of_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "results").write_text("years of work")
    with pytest.raises(ValueError, match="is a file"):
        volume.write(tmp_path / "results", ARRAY)
