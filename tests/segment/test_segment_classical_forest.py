import dataclasses

import numpy as np
import pytest

from segment.classical import FeatureSettings, PixelForest, pixel_forest
from segment.classical.compiled import symmetric_eigenvalues, tree_votes
from segment.classical.pixel_features import pixel_features

QUICK = {"n_trees": 8, "samples_per_phase": 300, "rng": 0}
SMALL = FeatureSettings((1.0, 2.0))
FLAT = FeatureSettings((1.0,), 2)
WHOLE = (slice(None),) * 3


def _nested(size=24):
    """A ball of phase 2 in a shell of phase 1 in phase 0."""
    distance = np.sqrt(np.sum((np.indices((size,) * 3) - (size - 1) / 2) ** 2, 0))
    return np.digitize(-distance, [-9.0, -5.0]).astype(np.uint8)


def _grey(labels, noise=0.0, seed=0):
    return 100 + 40.0 * labels + noise * np.random.default_rng(seed).normal(size=labels.shape)


@pytest.fixture(scope="module")
def forest():
    truth = _nested()
    return PixelForest.fit(_grey(truth, 15), truth, settings=SMALL, **QUICK)


@pytest.fixture(scope="module")
def flat_forest():
    truth = _nested()
    return PixelForest.fit(_grey(truth, 15), truth, settings=FLAT, **QUICK)


@pytest.mark.parametrize("n_phases", [2, 3])
@pytest.mark.parametrize("settings", [SMALL, FLAT])
def test_phantom_without_noise_is_recovered_from_three_labelled_slices(n_phases, settings):
    truth = np.minimum(_nested(), n_phases - 1)
    scribbles = np.full(truth.shape, 255, np.uint8)
    scribbles[[5, 9, 12]] = truth[[5, 9, 12]]
    found = PixelForest.fit(_grey(truth), scribbles, settings=settings, n_trees=30, rng=0).predict(_grey(truth))
    np.testing.assert_array_equal(found, truth)


def test_texture_without_contrast_is_told_apart_where_no_threshold_can():
    rng = np.random.default_rng(0)
    truth = np.zeros((20, 20, 40), np.uint8)
    truth[:, :, 20:] = 1
    grey = np.where(truth == 1, 1.0, 0.2) * rng.normal(size=truth.shape)
    scribbles = np.full(truth.shape, 255, np.uint8)
    scribbles[10] = truth[10]
    found = PixelForest.fit(grey, scribbles, settings=SMALL, n_trees=20, rng=0).predict(grey)
    # Twice the larger scale on each side of the wall both textures are seen.
    clear = np.r_[0:16, 24:40]
    assert np.mean(found[:, :, clear] == truth[:, :, clear]) > 0.97


@pytest.mark.parametrize("which", ["forest", "flat_forest"])
def test_blocks_give_the_bytes_of_the_whole(which, request, monkeypatch):
    grower = request.getfixturevalue(which)
    grey = _grey(_nested(26), 20, seed=1)
    whole = grower.probability(grey), grower.predict(grey)
    monkeypatch.setattr(pixel_forest, "BLOCK_SIDES", {3: (7, 9, 26), 2: (3, 8, 9)})
    assert grower.probability(grey).tobytes() == whole[0].tobytes()
    np.testing.assert_array_equal(grower.predict(grey), whole[1])


def test_labels_are_the_most_probable_phase_and_probabilities_add_up_to_one(forest):
    grey = _grey(_nested(), 20, seed=2)
    probability = forest.probability(grey)
    assert probability.dtype == np.float32
    assert probability.shape == (3, 24, 24, 24)
    np.testing.assert_allclose(probability.sum(0), 1, atol=1e-6)
    np.testing.assert_array_equal(forest.predict(grey), probability.argmax(0))


def test_forest_does_not_mind_gain_offset_and_type(forest):
    grey = np.round(_grey(_nested(), 15))
    expected = forest.predict(grey)
    np.testing.assert_array_equal(forest.predict((grey * 2).astype(np.uint16)), expected)
    np.testing.assert_array_equal(forest.predict((grey - 300).astype(np.int16)), expected)


def test_votes_are_those_of_scikit_learn():
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 5)).astype(np.float32)
    phases = (rows[:, 0] + rows[:, 1] ** 2 > rng.normal(size=600)).astype(int) + (rows[:, 2] > 1)
    model = RandomForestClassifier(10, random_state=0, min_samples_leaf=3).fit(rows, phases)
    trees = pixel_forest._flatten([tree.tree_ for tree in model.estimators_])
    votes = tree_votes(rows, trees["roots"], trees["children"], trees["feature"], trees["threshold"], trees["share"])
    np.testing.assert_allclose(votes, model.predict_proba(rows), atol=1e-6)


def test_same_seed_grows_the_same_forest_and_another_seed_another():
    truth = _nested(16)
    grow = [PixelForest.fit(_grey(truth, 20), truth, settings=FLAT, **(QUICK | {"rng": seed})) for seed in (0, 0, 1)]
    one, same, other = (forest.threshold.tobytes() + forest.share.tobytes() for forest in grow)
    assert one == same
    assert one != other


def test_samples_are_drawn_evenly_and_carry_their_phase():
    rng = np.random.default_rng(0)
    first = np.full((4, 6, 8), 255, np.uint8)
    first[1] = 0
    first[2, 0, :3] = 1
    second = rng.integers(0, 2, (3, 5, 5)).astype(np.uint8)
    where, phases = pixel_forest._draw_samples([first, second], 20, rng)
    assert np.bincount(phases).tolist() == [20, 20]
    assert len(np.unique(where, axis=0)) == 40
    for (number, z, y, x), phase in zip(where, phases, strict=True):
        assert (first, second)[number][z, y, x] == phase


def test_a_phase_with_few_labels_gives_all_of_them():
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 2, 3] = 1
    where, phases = pixel_forest._draw_samples([labels], 10, np.random.default_rng(0))
    assert where[phases == 1].tolist() == [[0, 1, 2, 3]]
    assert np.count_nonzero(phases == 0) == 10


def test_two_volumes_teach_what_each_alone_does_not_show():
    dark, bright = np.zeros((8, 8, 8), np.uint8), np.ones((8, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="at least two"):
        PixelForest.fit(_grey(dark, 1), dark, **QUICK)
    taught = PixelForest.fit([_grey(dark, 1), _grey(bright, 1)], [dark, bright], settings=FLAT, **QUICK)
    assert taught.n_phases == 2


class _OnDisk:
    """An array that can only be sliced, and knows the largest piece that was asked for."""

    def __init__(self, array):
        self._array, self.shape, self.dtype, self.largest = array, array.shape, array.dtype, 0

    def __getitem__(self, window):
        piece = self._array[window]
        self.largest = max(self.largest, piece.size)
        return piece


def test_a_volume_on_disk_is_never_read_as_a_whole(flat_forest, monkeypatch, tmp_path):
    monkeypatch.setattr(pixel_forest, "BLOCK_SIDES", {3: (8, 8, 8), 2: (2, 24, 24)})
    monkeypatch.setattr(pixel_forest, "SUBSET", 500)
    grey = _grey(_nested(), 20, seed=3)
    source = _OnDisk(grey)
    out = np.memmap(tmp_path / "labels.raw", np.uint8, "w+", shape=grey.shape)
    assert flat_forest.predict(source, out=out) is out
    assert source.largest == 2 * 24 * 24
    np.testing.assert_array_equal(out, flat_forest.predict(grey))


def test_a_dask_array_is_taken_as_it_is(flat_forest):
    dask_array = pytest.importorskip("dask.array")
    grey = _grey(_nested(), 20, seed=3)
    found = flat_forest.predict(dask_array.from_array(grey, chunks=12))
    np.testing.assert_array_equal(found, flat_forest.predict(grey))


def test_forest_is_the_same_after_save_and_load(forest, tmp_path):
    path = tmp_path / "forest.npz"
    forest.save(path)
    again = PixelForest.load(path)
    assert again.settings == forest.settings
    grey = _grey(_nested(), 20, seed=4)
    assert again.probability(grey).tobytes() == forest.probability(grey).tobytes()
    assert [one.name for one in tmp_path.iterdir()] == ["forest.npz"]


def test_files_that_hold_no_forest_are_refused(forest, tmp_path):
    path = tmp_path / "other.npz"
    path.write_bytes(b"no forest")
    with pytest.raises(ValueError, match="holds no pixel forest"):
        PixelForest.load(path)
    np.savez(path, settings=np.array([{"a": 1}], object))
    with pytest.raises(ValueError, match="holds no pixel forest"):
        PixelForest.load(path)
    with pytest.raises(ValueError, match="holds no pixel forest"):
        PixelForest.load(tmp_path / "missing.npz")


@pytest.mark.parametrize(
    ("name", "value"),
    [("children", 0), ("children", 10**6), ("feature", 99), ("feature", -1), ("roots", -1)],
)
def test_damaged_trees_are_refused(forest, tmp_path, name, value):
    damaged = np.full_like(getattr(forest, name), value)
    dataclasses.replace(forest, **{name: damaged}).save(tmp_path / "forest.npz")
    with pytest.raises(ValueError, match="trees are damaged"):
        PixelForest.load(tmp_path / "forest.npz")


@pytest.mark.parametrize(
    ("grey", "labels", "reason"),
    [
        (np.zeros((3, 4, 5)), np.zeros((3, 4, 4), np.uint8), r"shape, \(3, 4, 5\)"),
        (np.zeros((3, 4, 5)), np.zeros((3, 4, 5)), "float64"),
        (np.zeros((3, 4, 5)), np.full((3, 4, 5), -1), "from -1 to -1"),
        (np.zeros((3, 4, 5)), np.full((3, 4, 5), 300), "from 300 to 300"),
        (np.arange(60.0).reshape(3, 4, 5), np.full((3, 4, 5), 255), r"phases \[\]"),
        (np.arange(60.0).reshape(3, 4, 5), np.arange(60).reshape(3, 4, 5) % 2 * 2, r"phases \[0, 2\]"),
        (np.zeros((3, 4, 5)), np.arange(60).reshape(3, 4, 5) % 2, "constant"),
        (np.full((3, 4, 5), np.nan), np.arange(60).reshape(3, 4, 5) % 2, "NaN"),
        (np.zeros((4, 5)), np.zeros((4, 5), np.uint8), r"shape \(4, 5\)"),
        ([np.zeros((3, 4, 5))], [], "1 grey volumes and 0 of labels"),
    ],
)
def test_labels_that_cannot_teach_are_refused(grey, labels, reason):
    with pytest.raises(ValueError, match=reason):
        PixelForest.fit(grey, labels, **QUICK)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"n_trees": 0}, "n_trees is 0; give a whole number from 1 to 1000"),
        ({"n_trees": 2.0}, "n_trees is 2.0"),
        ({"samples_per_phase": 0}, "samples_per_phase is 0"),
    ],
)
def test_numbers_out_of_range_are_refused(choice, reason):
    with pytest.raises(ValueError, match=reason):
        PixelForest.fit(_grey(_nested()), _nested(), **(QUICK | choice))


@pytest.mark.parametrize("scales", [(), (2.0, 1.0), (1.0, 1.0), (0.1,), (20.0,), (float("nan"),)])
def test_scales_out_of_order_or_range_are_refused(scales):
    with pytest.raises(ValueError, match=r"rising numbers from 0.3 to 16"):
        FeatureSettings(scales)


def test_dims_other_than_2_and_3_are_refused():
    with pytest.raises(ValueError, match="give 3 or 2"):
        FeatureSettings(dims=1)


@pytest.mark.parametrize(
    ("grey", "reason"),
    [(np.ones((3, 3, 3)), "constant"), (np.full((3, 3, 3), np.nan), "NaN"), (np.zeros((3, 3)), "shape")],
)
def test_what_is_no_grey_volume_is_refused(forest, grey, reason):
    with pytest.raises(ValueError, match=reason):
        forest.predict(grey)


def test_nan_that_the_subset_misses_is_found_in_its_block(flat_forest, monkeypatch):
    monkeypatch.setattr(pixel_forest, "SUBSET", 500)
    grey = _grey(_nested(), 20)
    grey[1, 1, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        flat_forest.predict(grey)


def test_out_of_another_shape_is_refused(flat_forest):
    with pytest.raises(ValueError, match="out has shape"):
        flat_forest.predict(_grey(_nested()), out=np.empty((2, 3, 4), np.uint8))


def test_eigenvalues_are_those_of_lapack():
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(6, 500)).astype(np.float32)
    parts[:, :3] = [[2, 0, 1], [0, 0, 1], [0, 0, 1], [2, 0, 1], [0, 0, 1], [5, 0, 1]]
    a, b, c, d, e, f = parts.astype(np.float64)
    matrices = np.moveaxis(np.array([[a, b, c], [b, d, e], [c, e, f]]), -1, 0)
    np.testing.assert_allclose(symmetric_eigenvalues(parts), np.linalg.eigvalsh(matrices).T[::-1], atol=2e-6)


def test_features_of_a_ramp_are_its_slope_and_nothing_else():
    _, y, x = np.indices((15, 15, 15)).astype(np.float32)
    rows = pixel_features(0.03 * x + 0.04 * y, FeatureSettings((1.0,)), (slice(7, 8),) * 3)
    grey = 0.07 * 7
    np.testing.assert_allclose(rows[0], [grey, grey, 0, 0.05, 0, 0, 0, 0, 0.0025, 0, 0], atol=1e-6)


@pytest.mark.parametrize(("dims", "eigenvalues"), [(3, [0.06, 0.02, -0.04]), (2, [0.02, -0.04])])
def test_features_of_a_parabola_are_its_curvatures(dims, eigenvalues):
    z, y, x = (np.indices((15, 15, 15)) - 7).astype(np.float32)
    grey = 0.5 * (0.06 * z**2 - 0.04 * y**2 + 0.02 * x**2)
    rows = pixel_features(grey, FeatureSettings((1.0,), dims), (slice(7, 8),) * 3)
    np.testing.assert_allclose(rows[0, 4], sum(eigenvalues), atol=1e-6)
    np.testing.assert_allclose(rows[0, 5 : 5 + dims], eigenvalues, atol=1e-6)
    assert rows[0, 3] == pytest.approx(0, abs=1e-6)


def test_halo_is_as_far_as_features_look():
    for settings in (FeatureSettings(), FLAT, FeatureSettings((0.3,))):
        reach = settings.halo
        grey = np.zeros([2 * r + 3 for r in reach], np.float32)
        grey[:] = 0.5
        centre = tuple(slice(r + 1, r + 2) for r in reach)
        quiet = pixel_features(grey, settings, centre)
        assert quiet.shape == (1, settings.count)
        inner = tuple(slice(1, -1) for _ in reach)
        loud = np.random.default_rng(0).random(grey.shape, np.float32)
        loud[inner] = 0.5
        np.testing.assert_array_equal(pixel_features(loud, settings, centre), quiet)
