import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import volume
from volume import Volume, VolumeFileError, write_slabs
from volume.formats import ome_zarr

LABELS = np.random.default_rng(0).integers(0, 3, (9, 4, 5)).astype(np.uint8)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("size", [None, (0.5, 0.25, 0.25)])
@pytest.mark.parametrize("phases", [None, ("pore", "nickel", "ceria")])
def test_store_written_by_slabs_is_that_written_at_once(size, phases, tmp_path):
    at_once, by_slabs = tmp_path / "a" / "v.zarr", tmp_path / "b" / "v.zarr"
    volume.write(at_once, Volume(LABELS, size, phases))
    slabs = (LABELS[a:b] for a, b in ((0, 2), (2, 2), (2, 7), (7, 9)))
    write_slabs(by_slabs, slabs, shape=LABELS.shape, voxel_size_um=size, phases=phases)
    assert contents(by_slabs) == contents(at_once)
    found = volume.read(by_slabs)
    assert np.array_equal(found.array, LABELS)
    assert (found.voxel_size_um, found.phases) == (size, phases)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 7), max_size=12), st.integers(1, 6))
def test_layers_hold_the_planes_in_order_and_are_full_but_the_last(thicknesses, planes):
    whole = np.arange(sum(thicknesses)).reshape(-1, 1, 1)
    cuts = np.cumsum([0, *thicknesses])
    layers = list(ome_zarr._layers((whole[a:b] for a, b in itertools.pairwise(cuts)), planes))
    assert [len(layer) for layer in layers[:-1]] == [planes] * (len(layers) - 1)
    assert all(0 < len(layer) <= planes for layer in layers)
    assert [int(value) for layer in layers for value in layer.ravel()] == list(range(len(whole)))


def test_floats_and_masks_are_written_too(tmp_path):
    write_slabs(tmp_path / "f.zarr", iter([np.full((2, 3, 4), 0.5, np.float32)]), shape=(2, 3, 4), dtype=np.float32)
    assert volume.read(tmp_path / "f.zarr").array.dtype == np.float32
    write_slabs(tmp_path / "m.zarr", iter([LABELS[:1] > 0, LABELS[1:] > 0]), shape=LABELS.shape, dtype=bool)
    assert np.array_equal(volume.read(tmp_path / "m.zarr").array, LABELS > 0)


def test_writing_stopped_half_way_leaves_what_was_there(tmp_path):
    path = tmp_path / "v.zarr"
    volume.write(path, LABELS)

    def slabs():
        yield LABELS[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_slabs(path, slabs(), shape=LABELS.shape)
    assert np.array_equal(volume.read(path).array, LABELS)
    assert list(tmp_path.iterdir()) == [path]


def test_memory_does_not_grow_with_the_number_of_slabs(tmp_path):
    def peak(depth):
        tracemalloc.start()
        try:
            slabs = (np.full((64, 64, 64), i, np.uint8) for i in range(depth // 64))
            write_slabs(tmp_path / f"{depth}.zarr", slabs, shape=(depth, 64, 64))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(128)  # zarr's own first time
    assert peak(1024) < 1.1 * peak(256) + 2**18


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "v.nrrd"}, "cannot be written slab by slab"),
        ({"shape": (9, 4)}, "three whole lengths"),
        ({"shape": (10, 4, 5)}, "9 planes of 10"),
        ({"shape": (8, 4, 5)}, "does not fit into"),
        ({"shape": (9, 5, 4)}, "does not fit into"),
        ({"dtype": np.uint16}, "uint8 instead of uint16"),
        ({"dtype": complex}, "cannot hold complex128"),
        ({"phases": ("pore", "solid")}, "phases names the 2 labels"),
        ({"voxel_size_um": (1, 1, -1)}, "three positive numbers"),
    ],
)
def test_slabs_that_make_no_volume_are_refused(change, message, tmp_path):
    given = {"name": "v.zarr", "shape": LABELS.shape} | change
    path = tmp_path / given.pop("name")
    with pytest.raises(ValueError, match=message):
        write_slabs(path, iter([LABELS]), **given)
    assert list(tmp_path.iterdir()) == []


def test_slab_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(VolumeFileError, match="1 value of 4 that is not finite"):
        write_slabs(tmp_path / "v.zarr", [np.array([[[0, 1], [2, np.nan]]])], shape=(1, 2, 2), dtype=float)
    assert list(tmp_path.iterdir()) == []
