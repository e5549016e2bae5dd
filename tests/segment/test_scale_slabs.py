import copy
import dataclasses
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segment import Segmenter
from segment.inference import Answering, choose_device
from segment.networks import NETWORKS, UNet, build_network
from segment.preprocessing import Preprocessing
from segment.segmenter import SLAB
from segment.tiling import fitted_tile, layers_of_tiles, planes_read, predict_slabs, predict_tiled, tile_starts


def deep(depth, plane=(10, 12), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (depth, *plane)).astype(np.uint8)


# Tiles


@given(st.integers(1, 3000), st.integers(40, 200), st.integers(0, 19), st.sampled_from([1, 2, 4, 8]))
def test_fitted_tiles_are_no_more_and_no_larger_and_waste_less_than_a_multiple_each(size, most, overlap, multiple):
    most = -(-most // multiple) * multiple
    side = fitted_tile(size, most, overlap, multiple)
    assert side <= most
    if size <= most:
        assert side == size
        return
    assert side % multiple == 0
    padded = -(-size // multiple) * multiple
    count = len(tile_starts(padded, most, overlap, multiple))
    assert len(tile_starts(padded, side, overlap, multiple)) == count
    # What is shared beyond the overlap: its rounding up, and that of the side, once for each tile.
    assert count * side - padded - (count - 1) * overlap < 2 * count * multiple


@given(st.integers(1, 90), st.integers(4, 24), st.data(), st.sampled_from([1, 2, 4]))
@settings(max_examples=60, deadline=None)
def test_any_range_of_layers_is_predicted_to_the_bit_as_within_the_whole(depth, side, data, multiple):
    overlap = data.draw(st.integers(0, side - 1))
    tiles = {"size": (depth, 5), "tile": (side, 4), "overlap": (overlap, 1), "multiple": multiple}
    image = np.random.default_rng(0).random((2, depth, 5), np.float32)
    asked = []

    def read(first, last):
        asked.append((first, last))
        return image[:, first:last]

    def predictor(x):
        return np.cumsum(x, axis=1)  # depends on where the tile begins

    whole = predict_tiled(predictor, image, **{key: tiles[key] for key in ("tile", "overlap", "multiple")})
    layers = layers_of_tiles(tiles)
    a = data.draw(st.integers(0, len(layers) - 1))
    b = data.draw(st.integers(a, len(layers) - 1))
    planes = layers[a][0], layers[b][1]
    slabs = list(predict_slabs(predictor, read, **tiles, planes=planes))
    assert [slab.shape[1] for slab in slabs] == [last - first for first, last in layers[a : b + 1]]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=1), whole[:, planes[0] : planes[1]])
    assert (asked[0][0], asked[-1][1]) == planes_read(tiles, planes)


# The segmenter


@pytest.mark.parametrize("kind", ["slices", "slices with neighbours", "blocks", "two stages", "two stages of blocks"])
def test_range_of_layers_is_segmented_to_the_bit_as_within_the_whole(wild_network, wild_segmenter, kind):
    segmenter = wild_segmenter()
    if kind == "slices":
        segmenter = dataclasses.replace(segmenter, refine=None)
    elif kind == "slices with neighbours":
        segmenter = dataclasses.replace(segmenter, first=wild_network(in_channels=5), refine=None)
    elif kind == "blocks":
        segmenter = dataclasses.replace(segmenter, first=wild_network(dims=3), refine=None)
    elif kind == "two stages of blocks":
        segmenter = dataclasses.replace(segmenter, first=wild_network(dims=3))
    grey = deep(150)
    whole = segmenter.predict(grey)
    layers, levels = segmenter.layers(grey.shape), segmenter.preprocessing.measure(grey)
    assert layers[0][0] == 0
    assert layers[-1][1] == 150
    assert len(layers) >= 3
    for a, b in ((0, 0), (1, 1), (1, 2), (len(layers) - 1, len(layers) - 1)):
        planes = layers[a][0], layers[b][1]
        slabs = list(segmenter.slabs(grey, planes=planes, levels=levels))
        assert len(slabs) == b - a + 1
        np.testing.assert_array_equal(np.concatenate(slabs, axis=1), whole.probability[:, planes[0] : planes[1]])


def test_tiled_answer_equals_the_untiled_one_to_rounding_wherever_no_tile_ends_near(wild_segmenter, monkeypatch):
    segmenter, grey = wild_segmenter(), deep(3, (96, 121))
    segmenter = dataclasses.replace(segmenter, refine=None)
    expected = segmenter.predict(grey).probability
    overlap = 32
    monkeypatch.setattr("segment.segmenter.SLICE_TILE", 64)
    monkeypatch.setattr("segment.segmenter.SLICE_OVERLAP", overlap)
    sides = [fitted_tile(n, 64, overlap, 2) for n in (96, 121)]
    found = segmenter.predict(grey).probability
    # Two filters, a pooling, two filters of twice the size, their upsampling, two filters.
    reach = 2 + 1 + 4 + 2 + 2
    near = np.zeros((96, 121), bool)
    for axis, (size, side) in enumerate(zip((96, 122), sides, strict=True)):
        rows = np.moveaxis(near, axis, 0)
        for start in tile_starts(size, side, overlap, 2):
            for edge in {start, start + side} - {0, size}:
                rows[max(0, edge - reach) : edge + reach] = True
    assert 0.1 < np.mean(~near) < 0.9
    np.testing.assert_allclose(found[..., ~near], expected[..., ~near], atol=1e-5)


def test_chunks_of_a_file_are_read_once_by_each_stage(wild_segmenter):
    values = deep(100)

    class Chunked:
        shape, dtype, chunks, asked = values.shape, values.dtype, (40, 10, 12), []

        def __getitem__(self, window):
            self.asked.append((window.start, window.stop))
            return values[window]

    segmenter = wild_segmenter()
    levels = segmenter.preprocessing.measure(values)
    found = np.concatenate(list(segmenter.slabs(Chunked(), levels=levels)), axis=1)
    np.testing.assert_array_equal(found, segmenter.predict(values).probability)
    # 48 is the least multiple of the planes that a network is given at once.
    assert 48 % SLAB == 0
    assert sorted(Chunked.asked) == sorted([(0, 48), (48, 96), (96, 100)] * 2)


def test_memory_of_slabs_does_not_grow_with_depth_and_that_of_a_prediction_by_a_few_bytes_a_voxel(
    wild_segmenter, monkeypatch
):
    monkeypatch.setattr("segment.segmenter.BLOCK_TILE", (16, 16, 16))
    monkeypatch.setattr("segment.segmenter.BLOCK_OVERLAP", 4)
    segmenter = wild_segmenter()

    class Endless:
        dtype = np.dtype(np.uint8)

        def __init__(self, depth):
            self.shape = (depth, 16, 16)

        def __getitem__(self, window):
            return np.broadcast_to(np.arange(16, dtype=np.uint8), (len(range(*window.indices(self.shape[0]))), 16, 16))

    def peak(depth):
        lazy = Endless(depth)
        levels = Preprocessing().measure(lazy)
        tracemalloc.start()
        try:
            for slab in segmenter.slabs(lazy, levels=levels):
                assert slab.shape[0] == 2
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Of both the blocks are 16 voxels deep.
    shallow, deeper = peak(40), peak(160)
    assert deeper < 1.05 * shallow + 2**16

    grey = np.asarray(Endless(160)[:])
    tracemalloc.start()
    try:
        segmenter.predict(grey)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Two probabilities and a label of 9 bytes, a mask of the labels, and what a layer needs.
    assert most < 10 * grey.size + 1.2 * deeper


# Networks made ready


@pytest.mark.parametrize(
    ("name", "dims"),
    [
        # The Swin transformers need MONAI, whose import takes longer than all else here.
        pytest.param(name, dims, marks=[pytest.mark.slow] if name == "swin-unet" else [])
        for name, entry in NETWORKS.items()
        for dims in entry.dims
    ],
)
def test_network_made_ready_answers_as_the_network_does(name, dims):
    torch.manual_seed(0)
    network = build_network(name, dims=dims, n_phases=3).eval()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d)]
    for norm in norms:
        # As after training, when they are no longer idle.
        torch.nn.init.normal_(norm.running_mean, std=0.3)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2)
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
    x = torch.rand(1, *(max(network.factor, 16),) * dims)
    with torch.inference_mode():
        expected = network(x[None])[0].softmax(dim=0).numpy()
    before = copy.deepcopy(network.state_dict())
    np.testing.assert_allclose(Answering(network)(x.numpy()), expected, atol=1e-5)
    assert all(torch.equal(values, before[key]) for key, values in network.state_dict().items())


def test_batch_norms_are_folded_away():
    ready = Answering(UNet())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in ready.network.modules())


def test_bfloat16_moves_probabilities_by_its_rounding_and_no_more(wild_segmenter):
    grey = deep(20, (20, 20))
    exact, short = wild_segmenter().predict(grey), wild_segmenter().on("cpu", precision="bfloat16").predict(grey)
    difference = np.abs(exact.probability - short.probability)
    # Eight bits: each of some ten layers errs by up to 2**-9 of values of a few units.
    assert 0 < difference.max() < 0.15
    assert difference.mean() < 0.01
    np.testing.assert_allclose(short.probability.sum(axis=0), 1, atol=1e-5)


def test_fingerprint_changes_with_all_that_a_prediction_rests_on(wild_segmenter, monkeypatch):
    segmenter = wild_segmenter()
    weights = wild_segmenter()
    with torch.no_grad():
        next(weights.refine.parameters()).view(-1)[0] += 1e-3
    found = [
        one.fingerprint()
        for one in (
            segmenter,
            weights,
            dataclasses.replace(segmenter, temperature=1.5),
            dataclasses.replace(segmenter, refine=None),
            dataclasses.replace(segmenter, preprocessing=Preprocessing("stretch")),
            dataclasses.replace(segmenter, precision="bfloat16"),
            dataclasses.replace(segmenter, multiplanar=True),
        )
    ]
    assert len(set(found)) == len(found)
    assert wild_segmenter().fingerprint() == found[0]


def test_cpu_is_always_there_and_the_segmenter_there_is_a_copy(wild_segmenter):
    segmenter = wild_segmenter()
    there = segmenter.on("cpu")
    assert isinstance(there, Segmenter)
    assert there.first is not segmenter.first
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.gpu
def test_accelerator_gives_the_labels_of_the_cpu(wild_segmenter):
    grey = deep(40, (50, 46))
    cpu, gpu = wild_segmenter().on("cpu").predict(grey), wild_segmenter().on("cuda").predict(grey)
    np.testing.assert_allclose(gpu.probability, cpu.probability, atol=5e-3)


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("gpu", "the device is 'gpu'; give auto, cpu, cuda or cuda:N"),
        ("mps", "the device is 'mps'"),
        ("", "the device is ''"),
        (3.5, "the device is 3.5"),
        ("cuda:99", r"there is no device 'cuda:99' \(PyTorch .* sees \d+ CUDA devices\)"),
    ],
)
def test_device_that_is_not_there_is_refused(device, reason, wild_segmenter):
    with pytest.raises(ValueError, match=reason):
        wild_segmenter().on(device)


def test_unknown_precision_is_refused(wild_segmenter):
    with pytest.raises(ValueError, match="precision is 'half'; give one of float32, bfloat16"):
        wild_segmenter().on("cpu", precision="half")


def test_exhausted_memory_is_said_in_a_sentence(wild_segmenter, monkeypatch):
    ready = Answering(wild_segmenter().first)

    def exhausted(_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")

    ready.network.forward = exhausted
    with pytest.raises(MemoryError, match=r"a tile of \(1, 8, 8\) does not fit on device 'cpu'"):
        ready(np.zeros((1, 8, 8), np.float32))
