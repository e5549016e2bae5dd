import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
import torch
from distributed import LocalCluster
from scipy import ndimage

import segment
import volume
from poreforge.segmentation import Computing, segment_file
from segment import Segmenter
from segment.networks import UNet
from segment.parts import Parts, shares_of
from volume import Volume, open_lazily


@pytest.fixture
def stack(tmp_path):
    """Write a stack of three layers of tiles."""
    grey = np.random.default_rng(0).integers(0, 4096, (150, 12, 10)).astype(np.uint16)
    volume.write(tmp_path / "stack.tif", Volume(grey, (0.02, 0.01, 0.01)))
    return tmp_path / "stack.tif"


def results(folder, ending="tif"):
    return [volume.read(folder / name).array for name in (f"labels.{ending}", "labels-probability.tif")]


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("ending", ["tif", "ome.tif", "zarr", "npy"])
def test_stack_in_layers_gives_what_the_segmenter_says_in_memory(stack, tmp_path, tiny_model, ending):
    summary = segment_file(stack, tmp_path / "out" / f"labels.{ending}", model=str(tiny_model))
    expected = segment.load(tiny_model).predict(volume.read(stack).array)
    labels, pore = results(tmp_path / "out", ending)
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_array_equal(pore, expected.probability[0])
    assert summary["porosity"] == expected.porosity
    assert summary["undecided"] == np.mean(expected.probability.max(axis=0) < 0.8)
    with open_lazily(tmp_path / "out" / f"labels.{ending}") as lazy:
        assert lazy.phases == ("pore", "solid")
        assert lazy.voxel_size_um == pytest.approx((0.02, 0.01, 0.01))
    # The names of the phases, for which ``.npy`` has no room, are beside it.
    assert len(list((tmp_path / "out").iterdir())) == (5 if ending == "npy" else 4)


@pytest.mark.parametrize("name", ["stack.zarr", "stack.h5", "stack.npy", "slices"])
def test_volume_of_any_format_is_segmented_as_the_tiff(stack, tmp_path, tiny_model, name):
    volume.write(tmp_path / name, volume.read(stack))
    found = []
    for source in (stack, tmp_path / name):
        segment_file(source, tmp_path / "out" / "labels.tif", model=str(tiny_model))
        found.append(results(tmp_path / "out"))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


class KilledError(BaseException):
    """What no one catches."""


@pytest.fixture
def killed_after(monkeypatch):
    """End the work after so many layers; count those that are made."""
    add, made = Parts.add, []

    def wrap(most):
        def counted(self, layer, probability, *, shown):
            if len(made) == most:
                raise KilledError
            made.append(layer)
            add(self, layer, probability, shown=shown)

        monkeypatch.setattr(Parts, "add", counted)
        return made

    return wrap


def test_killed_run_leaves_nothing_under_the_final_names_and_goes_on_to_the_same_bytes(
    stack, tmp_path, tiny_model, killed_after
):
    out = tmp_path / "out" / "labels.tif"
    segment_file(stack, out, model=str(tiny_model))
    expected = results(tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    made = killed_after(2)
    with pytest.raises(KilledError):
        segment_file(stack, out, model=str(tiny_model))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".labels.tif-parts"]
    assert len(made) == 2
    killed_after(10**9)
    segment_file(stack, out, model=str(tiny_model))
    assert len(made) == len(set(made)) == 3
    for one, other in zip(results(tmp_path / "out"), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.parametrize("change", ["volume", "model", "precision"])
def test_parts_of_another_prediction_are_not_taken_for_parts_of_this_one(
    stack, tmp_path, tiny_model, killed_after, change
):
    out = tmp_path / "out" / "labels.tif"
    made = killed_after(2)
    with pytest.raises(KilledError):
        segment_file(stack, out, model=str(tiny_model))
    made.clear()
    model, computing = str(tiny_model), Computing()
    if change == "volume":
        found = volume.read(stack)
        volume.write(stack, Volume(found.array[::-1], found.voxel_size_um))
    elif change == "model":
        first = segment.load(tiny_model).first
        Segmenter(first, UNet(dims=3, in_channels=3, width=4, depth=1, refines=True), ("pore", "solid")).save(
            tmp_path / "model"
        )
        model = str(tmp_path / "model")
    else:
        computing = Computing(precision="bfloat16")
    killed_after(10**9)
    segment_file(stack, out, model=model, computing=computing)
    assert len(made) == 3


def test_run_that_fails_before_its_first_layer_leaves_no_parts(stack, tmp_path, tiny_model, killed_after):
    killed_after(0)
    with pytest.raises(KilledError):
        segment_file(stack, tmp_path / "out" / "labels.tif", model=str(tiny_model))
    assert list((tmp_path / "out").iterdir()) == []


def test_shares_are_neighbours_that_cover_all_and_bridge_no_gap():
    layers = [(k, k + 1) for k in range(10)]
    assert shares_of(layers, 3) == [layers[:4], layers[4:8], layers[8:]]
    assert shares_of([*layers[:3], *layers[5:]], 1) == [layers[:3], layers[5:]]
    assert shares_of([], 4) == []
    assert shares_of(layers, 99) == [[layer] for layer in layers]


# Each process loads all libraries anew.
@pytest.mark.slow
def test_workers_make_the_bytes_of_one_process(stack, tmp_path, tiny_model, one_thread, monkeypatch):
    monkeypatch.setattr("synth.workers.thread_count", lambda: 2)  # one thread for each of two
    expected = segment.load(tiny_model).predict(volume.read(stack).array)
    segment_file(stack, tmp_path / "out" / "labels.tif", model=str(tiny_model), computing=Computing(workers=2))
    labels, pore = results(tmp_path / "out")
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_array_equal(pore, expected.probability[0])


def test_workers_of_a_scheduler_make_the_same(stack, tmp_path, tiny_model, one_thread):
    expected = segment.load(tiny_model).predict(volume.read(stack).array)
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp") as c:
        computing = Computing(scheduler=c.scheduler_address)
        segment_file(stack, tmp_path / "out" / "labels.tif", model=str(tiny_model), computing=computing)
    labels, pore = results(tmp_path / "out")
    np.testing.assert_array_equal(labels, expected.labels)
    np.testing.assert_array_equal(pore, expected.probability[0])


# What can be segmented


def _grey(dtype):
    values = np.random.default_rng(0).normal(0, 1, (5, 14, 12))
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    bounds = np.iinfo(dtype)
    return np.clip(values / 8 * (bounds.max // 2) + bounds.max // 3, bounds.min, bounds.max).astype(dtype)


@pytest.mark.parametrize(
    "values",
    [
        *map(_grey, (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64)),
        _grey(np.float32) > 0,
        _grey(np.uint8)[:1],
        np.where(np.arange(5)[:, None, None] == 2, np.uint8(255), _grey(np.uint8)),
        np.where(np.arange(5)[:, None, None] == 0, np.uint8(0), _grey(np.uint8)),
        np.clip(_grey(np.uint8), 40, 90),
    ],
    ids=[
        "8 bits", "8 bits signed", "16 bits", "16 bits signed", "32 bits", "32 bits signed", "single", "double",
        "booleans", "one slice", "a saturated slice", "a black slice", "saturated voxels",
    ],
)  # fmt: skip
def test_volumes_of_every_number_type_and_with_spoilt_slices_are_segmented(values, tmp_path, tiny_model):
    np.save(tmp_path / "grey.npy", values)
    summary = segment_file(tmp_path / "grey.npy", tmp_path / "labels.tif", model=str(tiny_model))
    labels = volume.read(tmp_path / "labels.tif").array
    assert labels.shape == values.shape
    assert summary["porosity"] == np.mean(labels == 0)


# What cannot


def _nan_rows(folder):
    values = _grey(np.float32)
    values[3, 4:6] = np.nan
    np.save(folder / "grey.npy", values)
    return folder / "grey.npy", "24 values of 840 that are not finite (NaN or infinite) in the slices 3 to 3"


def _constant(folder):
    np.save(folder / "grey.npy", np.full((3, 8, 8), 7, np.int16))
    return folder / "grey.npy", "every grey value is 7; a constant volume cannot be segmented"


def _colour(folder):
    tifffile.imwrite(folder / "grey.tif", np.zeros((4, 8, 8, 3), np.uint8), photometric="rgb")
    return folder / "grey.tif", "holds colour (RGB) images"


def _channels(folder):
    tifffile.imwrite(folder / "grey.tif", np.zeros((4, 2, 8, 8), np.uint8), imagej=True, metadata={"axes": "ZCYX"})
    return folder / "grey.tif", "holds 2 channels"


def _complex(folder):
    np.save(folder / "grey.npy", np.zeros((3, 8, 8), np.complex64))
    return folder / "grey.npy", "complex64"


def _four_axes(folder):
    np.save(folder / "grey.npy", np.zeros((2, 3, 8, 8), np.uint8))
    return folder / "grey.npy", "has the axes z, y, x alone"


@pytest.mark.parametrize("spoil", [_nan_rows, _constant, _colour, _channels, _complex, _four_axes])
def test_volume_that_cannot_be_segmented_is_refused_and_nothing_is_written(spoil, tmp_path, tiny_model, refused):
    path, reason = spoil(tmp_path)
    line = refused("segment", path, "--model", tiny_model, "--out", tmp_path / "out" / "labels.tif")
    assert reason in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("computing", "reason"),
    [
        ({"device": "tpu"}, "the device is 'tpu'; give auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:77"}, "there is no device 'cuda:77'"),
        ({"precision": "float16"}, "precision is 'float16'; give one of float32, bfloat16"),
        ({"workers": 0}, "workers is 0; give a whole number from 1"),
        ({"workers": 2, "scheduler": "tcp://a:1"}, "give one of the two"),
        ({"scheduler": "a:1"}, "give an address like tcp://host:8786"),
    ],
)
def test_what_cannot_compute_is_refused_before_anything_is_written(computing, reason, stack, tmp_path, tiny_model):
    with pytest.raises(ValueError, match=reason):
        segment_file(stack, tmp_path / "out" / "labels.tif", model=str(tiny_model), computing=Computing(**computing))
    assert not (tmp_path / "out").exists()


def test_too_little_memory_is_refused_with_what_would_help(stack, tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr("poreforge.segmentation.available_bytes", lambda: 1000)
    with pytest.raises(
        ValueError, match=r"slices of 12 × 10 pixels needs about .* 1 kB are free; crop the slices, or use"
    ):
        segment_file(stack, tmp_path / "out" / "labels.tif", model=str(tiny_model))
    with pytest.raises(ValueError, match="or take fewer --workers"):
        segment_file(stack, tmp_path / "out" / "l.tif", model=str(tiny_model), computing=Computing(workers=2))
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("poreforge.segmentation.available_bytes", lambda: None)
    segment_file(stack, tmp_path / "out" / "labels.tif", model=str(tiny_model))


def test_full_disk_is_refused_before_the_work(stack, tmp_path, tiny_model, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("poreforge.segmentation.shutil.disk_usage", lambda _: usage)
    with pytest.raises(ValueError, match=r"18000 voxels need about 180 kB and the disk of .* has 10 bytes free"):
        segment_file(stack, tmp_path / "out" / "labels.tif", model=str(tiny_model))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="limits on memory")
def test_exhausted_memory_becomes_one_line(stack, tmp_path, tiny_model, refused, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError("a tile of (3, 64, 64, 64) does not fit on device 'cpu'")

    monkeypatch.setattr("segment.inference.Answering.__call__", exhausted)
    line = refused("segment", stack, "--model", tiny_model, "--out", tmp_path / "out" / "labels.tif")
    assert "not enough memory (a tile of (3, 64, 64, 64) does not fit on device 'cpu')" in line
    assert list((tmp_path / "out").iterdir()) == []


def test_stack_in_another_order_of_axes_is_warned_of_and_segmented_all_the_same(tmp_path, tiny_model):
    rng = np.random.default_rng(0)
    stack = ndimage.gaussian_filter(rng.normal(100, 100, (30, 32, 34)), 2) + rng.normal(0, 3, (30, 1, 1))
    np.save(tmp_path / "right.npy", stack)
    np.save(tmp_path / "wrong.npy", np.moveaxis(stack, 0, 2))
    assert segment_file(tmp_path / "right.npy", tmp_path / "right.tif", model=str(tiny_model))["warnings"] == []
    (line,) = segment_file(tmp_path / "wrong.npy", tmp_path / "wrong.tif", model=str(tiny_model))["warnings"]
    assert line.startswith("the brightness jumps from plane to plane along x and not along z")
    assert line in (tmp_path / "wrong.html").read_text(encoding="utf-8")
    # One that has learnt from turned volumes may be given any order.
    dataclasses.replace(segment.load(tiny_model), turned=True).save(tmp_path / "turned")
    summary = segment_file(tmp_path / "wrong.npy", tmp_path / "again.tif", model=str(tmp_path / "turned"))
    assert summary["warnings"] == []


def test_models_that_load_while_others_work_answer_alike(stack, tiny_model, one_thread):
    grey = volume.read(stack).array
    expected = segment.load(tiny_model).predict(grey).probability
    with ThreadPoolExecutor(2) as threads:
        for found in threads.map(lambda _: segment.load(tiny_model).predict(grey).probability, range(8)):
            np.testing.assert_allclose(found, expected, atol=1e-5)
