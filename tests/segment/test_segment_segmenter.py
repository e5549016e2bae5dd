import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

import segment
from segment import Segmenter
from segment.networks import UNet
from segment.preprocessing import Preprocessing, normalise
from segment.segmenter import SLAB
from segment.trust import Domain, apply_temperature, conformal_interval, image_statistics
from volume import Volume


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 256, (9, 21, 14)).astype(np.uint8)


# Normalisation


def test_normalised_grey_has_its_1st_percentile_at_0_and_its_99th_at_1():
    found = normalise(np.random.default_rng(1).normal(300, 20, (20, 20, 20)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.percentile(found, [1, 99]), [0, 1], atol=1e-6)


@pytest.mark.parametrize(("gain", "offset"), [(257, 0), (1, 1000), (64, 17), (2.0**-8, 0.5), (1e-3, -7.0), (1e9, 1e12)])
def test_normalised_grey_does_not_change_with_gain_and_offset(grey, gain, offset):
    whole = isinstance(gain, int) and isinstance(offset, int)
    changed = (grey.astype(np.uint16 if whole else np.float64) * gain + offset).astype(np.uint16 if whole else float)
    np.testing.assert_allclose(normalise(changed), normalise(grey), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.int64, np.float64])
def test_contrast_on_a_large_offset_is_kept_by_wide_types(grey, dtype):
    np.testing.assert_allclose(normalise(grey.astype(dtype) + 1_000_000_000), normalise(grey), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.float32])
def test_span_that_overflows_the_type_is_taken_between_the_extremes(dtype):
    low, high = (-1e30, 1e30) if dtype == np.float32 else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    grey = np.zeros((10, 10, 10), dtype)
    grey[0, 0, 0], grey[0, 0, 1] = low, high
    found = normalise(grey)
    assert found[0, 0, 0] == 0
    assert found[0, 0, 1] == pytest.approx(1)
    assert found[5, 5, 5] == pytest.approx(0.5, abs=1e-2)


# The porosity interval


@pytest.fixture(scope="module")
def untrained():
    return Segmenter(UNet(2, in_channels=1, n_phases=2, width=2, depth=1), None, ("pore", "solid"))


def interval(segmenter, errors, undecided=(), *, porosity=0.5, share=0.0):
    calibrated = dataclasses.replace(segmenter, porosity_errors=tuple(errors), undecided=tuple(undecided))
    return calibrated.porosity_interval(porosity, share)


@pytest.mark.parametrize("count", [1, 5, 9, 10, 12, 19, 40])
def test_reach_is_the_smallest_error_whose_coverage_is_enough(untrained, count):
    errors = np.random.default_rng(count).normal(0, 0.02, count)
    found = interval(untrained, errors)
    # Of all errors taken as reach, the smallest one that a share k / (N + 1) >= 9/10 does not exceed.
    ranked = sorted(abs(error) for error in errors)
    enough = [(k, reach) for k, reach in enumerate(ranked, 1) if 10 * k >= 9 * (count + 1)]
    k, reach = enough[0] if enough else (count, ranked[-1])
    assert (found.low, found.high) == (pytest.approx(0.5 - reach), pytest.approx(0.5 + reach))
    assert found.coverage == pytest.approx(k / (count + 1))


@pytest.mark.parametrize("count", [9, 12, 30])
def test_interval_covers_at_its_nominal_rate_however_undecided_the_volumes_are(untrained, count):
    # Exact, not by chance: of N + 1 different volumes, each is left out once and held against the others.
    rng = np.random.default_rng(count)
    shares = rng.uniform(0, 0.4, count + 1)
    errors = shares * rng.uniform(-1, 1, count + 1)
    hits = []
    for k in range(count + 1):
        found = interval(untrained, np.delete(errors, k), np.delete(shares, k), share=shares[k])
        hits.append(found.low - 1e-12 <= 0.5 - errors[k] <= found.high + 1e-12)
    assert np.mean(hits) == pytest.approx(found.coverage)


def test_interval_is_wider_where_more_is_undecided(untrained):
    errors, shares = np.linspace(-0.03, 0.04, 20), np.linspace(0.01, 0.2, 20)
    clear, doubtful = (interval(untrained, errors, shares, share=share) for share in (0.01, 0.2))
    assert doubtful.high - doubtful.low > 1.5 * (clear.high - clear.low)


def test_interval_without_any_error_is_everything(untrained):
    found = interval(untrained, (), porosity=0.3)
    assert (found.low, found.high, found.coverage) == (0.0, 1.0, 1.0)


def test_share_of_undecided_voxels_decides_the_interval_of_a_prediction(untrained, grey):
    calibrated = dataclasses.replace(untrained, porosity_errors=(0.02,) * 12, undecided=(0.1,) * 12)
    found = calibrated.predict(grey)
    share = np.mean(found.probability.max(axis=0) < 0.8)
    expected = calibrated.porosity_interval(found.porosity, share)
    assert found.porosity_interval == (expected.low, expected.high)
    assert share not in (0.0, 0.1)


# Prediction


@pytest.mark.parametrize("shape", [(9, 21, 14), (1, 16, 16), (1, 1, 2), (2, 5, 3), (17, 30, 23), (70, 9, 8)])
@pytest.mark.parametrize("phases", [("pore", "solid"), ("pore", "solid", "binder")])
def test_every_shape_is_segmented_with_probabilities_that_add_up_to_one(wild_segmenter, shape, phases):
    grey = np.random.default_rng(2).integers(0, 1000, shape).astype(np.uint16)
    grey.flat[0], grey.flat[-1] = 0, 1000
    found = wild_segmenter(phases=phases).predict(grey)
    assert found.labels.shape == shape
    assert found.labels.dtype == np.uint8
    assert found.probability.shape == (len(phases), *shape)
    assert found.probability.dtype == np.float32
    np.testing.assert_allclose(found.probability.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(found.labels, found.probability.argmax(axis=0))
    assert found.porosity == np.mean(found.labels == 0)
    assert found.phases == phases


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_the_same_numbers_of_another_type_give_the_same_labels(wild_segmenter, grey, dtype):
    segmenter = wild_segmenter()
    expected = segmenter.predict(grey)
    assert 0 < expected.porosity < 1
    found = segmenter.predict(grey.astype(dtype))
    np.testing.assert_allclose(found.probability, expected.probability, atol=1e-5)


def test_brighter_and_stronger_copy_gives_the_same_labels(wild_segmenter, grey):
    segmenter = wild_segmenter()
    expected = segmenter.predict(grey)
    changed = segmenter.predict(grey.astype(np.uint16) * 128 + 1000)
    # A tie at 1/2 is the only place where rounding may decide.
    clear = np.abs(expected.probability[0] - 0.5) > 1e-4
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(changed.labels[clear], expected.labels[clear])


def test_volume_list_and_array_are_segmented_alike(wild_segmenter, grey):
    segmenter = wild_segmenter()
    expected = segmenter.predict(grey)
    for same in (Volume(grey, (0.1, 0.2, 0.3)), grey.tolist(), np.asfortranarray(grey), grey[::-1][::-1]):
        np.testing.assert_allclose(segmenter.predict(same).probability, expected.probability, atol=1e-6)


def test_input_is_not_changed(wild_segmenter, grey):
    values = grey.astype(np.float32) / 255
    before = values.copy()
    wild_segmenter().predict(values)
    np.testing.assert_array_equal(values, before)
    # Nor does it want to write there.
    values.flags.writeable = False
    assert wild_segmenter().predict(values).labels.shape == values.shape


def first_stage(segmenter, values):
    return np.concatenate(list(segmenter.predict_first(iter([values[None]]), shape=values.shape)), axis=1)


def test_first_stage_sees_each_slice_alone(wild_segmenter, grey):
    segmenter, values = wild_segmenter(), normalise(grey)
    whole = first_stage(segmenter, values)
    for z in (0, 4, 8):
        np.testing.assert_allclose(first_stage(segmenter, values[z : z + 1]), whole[:, z : z + 1], atol=1e-6)


def test_second_stage_refines_the_stack_of_the_first(wild_segmenter, grey):
    segmenter, values = wild_segmenter(), normalise(grey)
    first = first_stage(segmenter, values)
    channels = np.concatenate([first, values[None]])
    padded = np.pad(channels, [(0, 0), *((0, -n % segmenter.refine.factor) for n in values.shape)], mode="symmetric")
    with torch.inference_mode():
        second = segmenter.refine(torch.from_numpy(padded)[None])[0].softmax(dim=0).numpy()
    z, y, x = values.shape
    found = segmenter.predict(grey).probability
    np.testing.assert_allclose(found, second[:, :z, :y, :x], atol=1e-5)
    assert np.abs(first - found).max() > 0.01
    alone = Segmenter(segmenter.first, None, segmenter.phases).predict(grey)
    np.testing.assert_array_equal(alone.probability, first)


def test_slabs_of_a_deep_volume_are_read_forward_and_make_up_the_prediction(wild_segmenter):
    values = np.random.default_rng(3).integers(0, 256, (90, 12, 10)).astype(np.uint8)

    class OnDisk:
        shape, dtype, asked = values.shape, values.dtype, []

        def __getitem__(self, window):
            first = window[0] if isinstance(window, tuple) else window
            self.asked.append(first)
            return values[window]

    lazy, segmenter = OnDisk(), wild_segmenter()
    slabs = list(segmenter.slabs(lazy))
    assert len(slabs) > 1
    np.testing.assert_array_equal(np.concatenate(slabs, axis=1), segmenter.predict(values).probability)
    # Twice, as both stages read what the networks see, and once to measure the levels.
    planes = [len(range(*window.indices(len(values)))) for window in lazy.asked]
    assert sum(planes) == 3 * len(values)
    assert max(planes[1:]) == SLAB


@pytest.mark.parametrize("neighbours", [1, 2])
def test_network_with_neighbours_sees_them_and_at_the_ends_the_outermost_slice_again(grey, neighbours):
    torch.manual_seed(0)
    network = UNet(dims=2, in_channels=2 * neighbours + 1, width=4, depth=1).eval()
    values = normalise(grey)
    segmenter = Segmenter(network, None, ("pore", "solid"))
    found = np.concatenate(list(segmenter.predict_first(iter([values[None]]), shape=values.shape)), axis=1)
    extended = np.pad(values, [(neighbours, neighbours), (0, 1), (0, 0)], mode="edge")
    extended[:, -1] = extended[:, -2]
    for z in range(len(values)):
        image = torch.from_numpy(extended[z : z + 2 * neighbours + 1])[None]
        with torch.inference_mode():
            expected = network(image)[0].softmax(dim=0).numpy()
        np.testing.assert_allclose(found[:, z], expected[:, : values.shape[1]], atol=1e-5)


def test_network_on_blocks_is_a_first_stage_too(tmp_path, grey):
    torch.manual_seed(0)
    segmenter = Segmenter(UNet(dims=3, width=4, depth=1), None, ("pore", "solid"), preprocessing=Preprocessing("none"))
    segmenter.save(tmp_path / "blocks")
    found = segment.load(tmp_path / "blocks").predict(grey)
    padded = np.pad(grey.astype(np.float32) / 255, [(0, 1), (0, 1), (0, 0)], mode="symmetric")
    with torch.inference_mode():
        expected = segmenter.first.eval()(torch.from_numpy(padded)[None, None])[0].softmax(dim=0).numpy()
    np.testing.assert_allclose(found.probability, expected[:, :9, :21], atol=1e-5)


def test_interval_of_a_prediction_rests_on_the_segmenters_errors(wild_segmenter, grey):
    found = wild_segmenter(errors=(0.01, -0.02, 0.005)).predict(grey)
    expected = conformal_interval(found.porosity, (0.01, -0.02, 0.005))
    assert found.porosity_interval == (expected.low, expected.high)
    assert np.ptp(found.porosity_interval) > 0.01
    assert found.coverage == 3 / 4


@pytest.mark.parametrize(
    ("grey", "reason"),
    [
        (np.full((4, 4, 4), 0.5), "every grey value is 0.5"),
        (np.where(np.arange(64).reshape(4, 4, 4) == 7, np.nan, 1.0), "1 grey values are NaN"),
        (np.zeros((8, 8)), r"shape \(8, 8\)"),
        (np.zeros((8, 8, 8, 3)), r"shape \(8, 8, 8, 3\)"),
        (np.eye(8, dtype=bool)[None], "bool"),
    ],
)
def test_what_is_no_grey_volume_is_refused_by_the_segmenter(wild_segmenter, grey, reason):
    with pytest.raises(ValueError, match=reason):
        wild_segmenter().predict(grey)


def test_network_that_answers_nan_is_refused_and_not_called_pore(wild_segmenter, grey):
    segmenter = wild_segmenter()
    torch.nn.init.constant_(segmenter.refine.exit.weight, math.nan)
    with pytest.raises(ValueError, match="NaN"):
        segmenter.predict(grey)


# Saving and loading


@pytest.mark.parametrize("stages", [1, 2])
def test_saved_segmenter_predicts_the_same_when_loaded(tmp_path, wild_segmenter, grey, stages):
    segmenter = wild_segmenter(errors=(0.01, -0.002))
    if stages == 1:
        segmenter = Segmenter(segmenter.first, None, segmenter.phases, segmenter.porosity_errors)
    segmenter.save(tmp_path / "run" / "segmenter")
    expected = segmenter.predict(grey)
    for folder in (tmp_path / "run", tmp_path / "run" / "segmenter", str(tmp_path / "run")):
        found = segment.load(folder).predict(grey)
        np.testing.assert_array_equal(found.probability, expected.probability)
        assert found.porosity_interval == expected.porosity_interval
        assert found.phases == expected.phases


def test_temperature_and_domain_are_saved_and_the_picture_is_judged(tmp_path, wild_segmenter):
    rng = np.random.default_rng(2)
    pictures = [ndimage.gaussian_filter(rng.random((4, 48, 48)), 2) for _ in range(20)]
    domain = Domain.fit([image_statistics(picture) for picture in pictures])
    segmenter = dataclasses.replace(wild_segmenter(), temperature=2.0, domain=domain)
    segmenter.save(tmp_path / "model")
    loaded = segment.load(tmp_path / "model")
    assert loaded.domain == domain
    found, raw = loaded.predict(pictures[0]), wild_segmenter().predict(pictures[0])
    np.testing.assert_allclose(found.probability, apply_temperature(raw.probability, 2.0), atol=1e-6)
    assert found.judgement == domain.judge(image_statistics(pictures[0]))
    noise = loaded.predict(rng.random((4, 48, 48))).judgement
    assert not noise.inside
    assert raw.judgement is None
    assert loaded.predict(pictures[0][:, :20, :20]).judgement is None


def test_saving_again_replaces_what_was_there(tmp_path, wild_segmenter):
    wild_segmenter().save(tmp_path / "model")
    segmenter = wild_segmenter()
    Segmenter(segmenter.first, None, ("void", "rest")).save(tmp_path / "model")
    loaded = segment.load(tmp_path / "model")
    assert loaded.refine is None
    assert loaded.phases == ("void", "rest")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_unknown_name_lists_the_shipped_models(monkeypatch, tmp_path, wild_segmenter):
    monkeypatch.setattr("segment.segmenter.WEIGHTS", tmp_path)
    with pytest.raises(ValueError, match=r"no segmenter 'fibsen'; give a shipped name \(none\)"):
        segment.load("fibsen")
    for name in ("one", "two"):
        wild_segmenter().save(tmp_path / name)
    assert segment.shipped_models() == ["one", "two"]
    with pytest.raises(ValueError, match=r"no segmenter 'three'; give a shipped name \(one, two\)"):
        segment.load("three")
    assert segment.load("two").phases == ("pore", "solid")


def _cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("segmenter.json", lambda path: path.write_text("{")),
        ("segmenter.json", lambda path: path.write_text(json.dumps({"phases": ["pore", "solid"]}))),
        ("first/config.json", lambda path: path.write_text("{")),
        ("first/diffusion_pytorch_model.safetensors", _cut_short),
        ("refine/diffusion_pytorch_model.safetensors", lambda path: path.unlink()),
    ],
)
def test_damaged_model_is_refused_by_name(tmp_path, wild_segmenter, file, damage):
    wild_segmenter().save(tmp_path / "model")
    damage(tmp_path / "model" / file)
    with pytest.raises(ValueError, match=r"the segmenter in '.*model' is damaged or incomplete"):
        segment.load(tmp_path / "model")


def test_large_slice_in_tiles_equals_itself_in_one_tile_for_a_network_that_looks_at_one_pixel():
    def network(x):
        return torch.cat([x, -x], dim=1) * 3

    class Pointwise(torch.nn.Module):
        factor, dims, config = 8, 2, {"in_channels": 1}

        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return network(x)

    grey = np.random.default_rng(0).uniform(0, 1, (2, 300, 270)).astype(np.float32)
    expected = network(torch.from_numpy(grey)[:, None]).softmax(dim=1).numpy().swapaxes(0, 1)
    found = list(Segmenter(Pointwise(), None, ("pore", "solid")).predict_first(iter([grey[None]]), shape=grey.shape))
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=1e-6)
