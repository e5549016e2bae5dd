import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.fft import dctn
from scipy.special import ndtri
from scipy.stats import multivariate_normal

import synth
import volume
from evaluate import minkowski, two_point
from generative.decoding import phase_counts
from generative.fit_random_field import main
from generative.loading import load
from generative.rivals.boolean_model import _fit_balls, fit_boolean
from generative.rivals.gaussian_cut import cut_covariance, draw_kernel_waves, fit_kernel, invert_covariance
from generative.rivals.gaussian_model import fit_gaussian
from generative.rivals.pair_covariance import PairCovariance
from synth.truth import boolean_model

LENGTH, SHAPE, DRAWN = 5.0, (96, 96, 96), (48, 48, 48)


def squared_distance(n):
    squares = np.arange(n + 1.0) ** 2
    return squares[:, None, None] + squares[:, None] + squares


def neighbour_changes(labels):
    """How often neighbours along z, y and x differ."""
    return np.array([np.mean(np.diff(labels.astype(int), axis=axis) != 0) for axis in range(3)])


@pytest.fixture(scope="module")
def level_cut():
    return np.asarray(synth.gaussian_phases(SHAPE, fractions=(0.35, 0.65), length_vox=LENGTH, rng=1))


@pytest.fixture(scope="module")
def balls():
    return np.asarray(synth.sphere_pack(SHAPE, porosity=0.5, diameter_vox=10, sigma=0, rng=1))


@pytest.fixture(scope="module")
def nested():
    lengths = (4.0, 6.0)
    return np.asarray(
        synth.gaussian_phases(SHAPE, fractions=(0.3, 0.3, 0.4), length_vox=lengths, rule="plurigaussian", rng=2)
    )


@pytest.fixture(scope="module")
def four_phases():
    return np.asarray(
        synth.gaussian_phases((48,) * 3, fractions=(0.2, 0.3, 0.3, 0.2), length_vox=3, rule="plurigaussian", rng=3)
    )


@pytest.fixture(scope="module")
def models(level_cut, balls, nested, four_phases):
    return {
        "gaussian": fit_gaussian(level_cut),
        "boolean": fit_boolean(balls),
        "nested": fit_gaussian(nested),
        "four": fit_gaussian(four_phases),
    }


def check_statistic_agrees(measure, drawn, material):
    """The material is a sample too: its error is that of the draws, by the square root of the volumes' ratio."""
    values = np.array([measure(labels) for labels in drawn])
    scatter = values.std(axis=0, ddof=1)
    allowed = 4 * scatter * np.sqrt(1 / len(drawn) + drawn[0].size / material.size)
    assert np.all(np.abs(values.mean(axis=0) - measure(material)) <= allowed)


# The bivariate normal relation


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.3, 0.99])
def test_covariance_of_a_cut_is_the_bivariate_normal_probability(fraction, correlation):
    both = multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], abseps=1e-9, releps=1e-9)
    exact = both.cdf([ndtri(fraction)] * 2) - fraction**2
    assert cut_covariance(np.array(correlation), fraction) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.9])
def test_inversion_gives_the_correlation_back_up_to_one(fraction):
    correlation = np.append(np.linspace(-0.3, 0.999, 50), 1.0)
    back = invert_covariance(cut_covariance(correlation, fraction), fraction)
    assert np.allclose(back, correlation, atol=1e-6)
    assert cut_covariance(np.array(1.0), fraction) == pytest.approx(fraction * (1 - fraction))


# The kernel


def test_kernel_of_a_possible_correlation_reproduces_it():
    squares = squared_distance(20)
    fit = fit_kernel(np.exp(-squares / 16), np.sqrt(squares), reach=8)
    near = tuple(slice(n) for n in fit.correlation.shape)
    assert fit.clipped < 1e-3
    assert np.abs(fit.correlation - np.exp(-squares[near] / 16)).max() < 2e-3
    assert 1 - fit.correlation[1, 0, 0] == pytest.approx(1 - np.exp(-1 / 16), rel=0.01)


def test_impossible_correlation_is_changed_to_a_possible_one_and_its_neighbours_least():
    squares = squared_distance(24)
    wanted = np.maximum(1 - 0.02 * squares, 0)
    fit = fit_kernel(wanted, np.sqrt(squares), reach=12)
    clipped = dctn(np.maximum(dctn(wanted, type=1), 0), type=1)
    by_clipping = abs(clipped[1, 0, 0] / clipped[0, 0, 0] - wanted[1, 0, 0])
    assert fit.clipped > 0.1
    assert fit.error > 0.01
    assert abs(fit.correlation[1, 0, 0] - wanted[1, 0, 0]) < by_clipping / 4


@pytest.mark.parametrize(("periodic", "shape"), [(False, (40, 37, 50)), (True, (40, 36, 45)), (True, (7, 60, 60))])
def test_field_of_a_kernel_has_variance_one_and_the_correlation(periodic, shape):
    squares = squared_distance(16)
    fit = fit_kernel(np.exp(-squares / 9), np.sqrt(squares), reach=6)
    rng = np.random.default_rng(0)
    products = []
    for _ in range(24):
        waves = draw_kernel_waves(shape, fit.kernel, periodic=periodic, rng=rng)
        field = np.stack([waves.plane(z) for z in range(shape[0])]).astype(float)
        products.append([np.mean(field**2), np.mean(field[:, :, 3:] * field[:, :, :-3])])
    products = np.array(products)
    error = products.std(axis=0, ddof=1) / np.sqrt(len(products))
    # Winding around a box shorter than the kernel changes the correlation along that axis only.
    assert np.all(np.abs(products.mean(axis=0) - [1, np.exp(-1)]) < 4 * error + 2e-3)


# Fits to known media


def test_level_cut_gets_back_the_correlation_of_its_field(level_cut, models):
    model = models["gaussian"]
    squares = squared_distance(len(model.kernels[0]) - 1)
    wide = np.zeros((2 * len(model.kernels[0]),) * 3)
    near = tuple(slice(n) for n in model.kernels[0].shape)
    wide[near] = model.kernels[0]
    correlation = dctn(dctn(wide, type=1) ** 2, type=1)[near]
    correlation /= correlation[0, 0, 0]
    # Bartlett: the variance of a sample correlation is at most twice the integral of the squared correlation over V.
    allowed = 4 * np.sqrt(2 * (np.pi / 2) ** 1.5 * LENGTH**3 / level_cut.size)
    assert np.abs(correlation - np.exp(-squares / LENGTH**2)).max() < allowed
    # The curvature at 0 is an average over the whole surface; its error is that of the specific surface, twice.
    eighths = [level_cut[z : z + 48, y : y + 48, x : x + 48] for z in (0, 48) for y in (0, 48) for x in (0, 48)]
    surfaces = np.array([minkowski(part == 0).specific_surface for part in eighths])
    relative = 2 * 4 * surfaces.std(ddof=1) / np.sqrt(8) / surfaces.mean()
    assert relative < 0.1
    assert 1 - correlation[1, 0, 0] == pytest.approx(1 - np.exp(-1 / LENGTH**2), rel=relative)


@pytest.mark.parametrize(("kind", "material"), [("gaussian", "level_cut"), ("boolean", "balls")])
def test_draws_have_the_fraction_surface_euler_density_and_s2_of_such_a_material(models, request, kind, material):
    material = request.getfixturevalue(material)
    drawn = models[kind](DRAWN, count=12, seed=1)

    def densities(labels):
        found = minkowski(labels == 0)
        return [found.volume_fraction, found.specific_surface, found.euler_density]

    check_statistic_agrees(densities, drawn, material)
    check_statistic_agrees(lambda labels: two_point(labels == 0, r_max=12).s2, drawn, material)


def test_nested_cuts_of_three_phases_are_found_in_their_order(models, nested):
    model = models["nested"]
    assert model.card.settings["order"] == [0, 1, 2]
    assert max(model.card.settings["s2_error"]) < 0.01
    drawn = model(DRAWN, count=12, seed=2)
    for label in range(3):
        check_statistic_agrees(lambda labels, label=label: two_point(labels == label, r_max=10).s2, drawn, nested)
        check_statistic_agrees(lambda labels, label=label: minkowski(labels == label).specific_surface, drawn, nested)


def test_four_phases_have_three_fields_and_the_right_fractions(models, four_phases):
    model = models["four"]
    assert len(model.kernels) == 3
    assert set(np.unique(model((32,) * 3))) == {0, 1, 2, 3}
    check_statistic_agrees(lambda labels: np.bincount(labels.ravel()) / labels.size, model(DRAWN, count=8), four_phases)


@pytest.mark.parametrize("radius", [3.0, 5.0])
def test_exact_s2_of_balls_gives_their_radius_and_surface(radius):
    truth = boolean_model(0.4, diameter_vox=2 * radius, sigma=0)
    distance = np.sqrt(squared_distance(16))
    excess = truth.pore.two_point(distance) - 0.4**2
    exact = PairCovariance(np.array([0.4, 0.6]), np.array([[excess, -excess], [-excess, excess]]), distance)
    fit = _fit_balls(exact, void=0)
    assert fit.void() == pytest.approx(0.4)
    # The radii on offer are 6 % apart.
    volumes = fit.intensities * fit.radii**3
    assert np.average(fit.radii, weights=volumes) == pytest.approx(radius, rel=0.03)
    surface = fit.void() * 4 * np.pi * (fit.intensities * fit.radii**2).sum()
    assert surface == pytest.approx(truth.pore.specific_surface, rel=0.01)
    assert exact.error_of({0: fit.void_pairs(distance)})[0] < 2e-3


def test_balls_are_recognised_as_the_grains_whichever_phase_they_are(models, balls):
    assert models["boolean"].card.settings["grains"] == 1
    assert fit_boolean(1 - balls).card.settings["grains"] == 0


def test_anisotropic_fit_tells_the_axes_apart_and_the_isotropic_one_does_not():
    stretched = np.asarray(
        synth.gaussian_phases((64,) * 3, fractions=(0.5, 0.5), length_vox=4, anisotropy=(1, 1, 2), rng=4)
    )
    along = neighbour_changes(stretched)
    found = neighbour_changes(fit_gaussian(stretched, anisotropic=True)((96,) * 3, seed=1)[0])
    mean = neighbour_changes(fit_gaussian(stretched)((96,) * 3, seed=1)[0])
    assert along[0] / along[2] == pytest.approx(2, rel=0.1)
    assert np.allclose(found, along, rtol=0.05)
    assert np.allclose(mean / mean.mean(), 1, rtol=0.05)


# What may be asked of a model


@pytest.mark.parametrize("kind", ["gaussian", "boolean", "nested"])
def test_volume_depends_on_seed_and_index_alone(models, kind, monkeypatch):
    together = models[kind]((20, 24, 28), count=4, seed=5)
    assert np.array_equal(models[kind]((20, 24, 28), seed=5, first=2)[0], together[2])
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(models[kind]((20, 24, 28), seed=6)[0], together[0])
    exact = models[kind]((20, 24, 28), seed=5, fractions=(0.5, *[0.5 / (together.max())] * together.max()))
    monkeypatch.setattr("synth.threads.thread_count", lambda: 3)
    monkeypatch.setattr("synth.threads.SMALLEST_SLAB", 100)
    assert np.array_equal(models[kind]((20, 24, 28), count=4, seed=5), together)
    again = models[kind]((20, 24, 28), seed=5, fractions=(0.5, *[0.5 / (together.max())] * together.max()))
    assert np.array_equal(again, exact)


@pytest.mark.parametrize("kind", ["gaussian", "boolean", "nested"])
def test_periodic_volumes_fit_at_their_faces_and_others_do_not(models, kind):
    for periodic in (True, False):
        drawn = models[kind]((40, 40, 40), count=4, seed=7, periodic=periodic).astype(int)
        inside = np.mean([neighbour_changes(labels) for labels in drawn], axis=0)
        seam = [np.mean(np.take(drawn, 0, axis) != np.take(drawn, -1, axis)) for axis in (1, 2, 3)]
        # Faces that know nothing of each other differ in a good third of their voxels, neighbours in a tenth.
        assert np.all(np.array(seam) < 1.5 * inside) == periodic
        assert np.all(np.array(seam) > 2.5 * inside) != periodic


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("kind", ["gaussian", "boolean", "nested", "four"])
def test_prescribed_fractions_are_exact(models, kind, periodic):
    model = models[kind]
    n = len(model.card.phases)
    rng = np.random.default_rng(1)
    wanted = [*rng.dirichlet(np.ones(n), size=3), np.eye(n)[0], np.eye(n)[-1], np.eye(n)[1]]
    wanted.append(np.array([0.5] + [0.0] * (n - 2) + [0.5]))
    for fractions in wanted:
        for shape in ((16, 20, 24), (1, 2, 3)):
            labels = model(shape, fractions=fractions, periodic=periodic, seed=3)[0]
            counts = phase_counts(fractions, n_phases=n, voxels=labels.size)
            assert np.array_equal(np.bincount(labels.ravel(), minlength=n), counts)


def test_exact_balls_are_a_boolean_model_of_that_fraction(models):
    """With the same radii and more of them, S2 of the void is q'² (S2 / q²) ** (ln q' / ln q)."""
    settings = models["boolean"].card.settings
    drawn = models["boolean"](DRAWN, count=16, seed=2, fractions=(0.3, 0.7))
    s2 = np.array([two_point(labels == 0, r_max=6).s2 for labels in drawn])
    r = two_point(drawn[0] == 0, r_max=6).r
    t = np.minimum(r[:, None] / (2 * np.array(settings["radii_vox"])), 1)
    volumes = 4 / 3 * np.pi * np.array(settings["radii_vox"]) ** 3 * (1 - 1.5 * t + 0.5 * t**3)
    filled = volumes @ np.array(settings["intensities"])
    expected = 0.3 ** (2 - filled / filled[0])
    # A fixed fraction takes from S2 the variance that the fraction has otherwise: below 1 % of 0.3 here.
    assert np.all(np.abs(s2.mean(axis=0) - expected) < 4 * s2.std(axis=0, ddof=1) / 4 + 0.003)


@pytest.mark.parametrize("kind", ["gaussian", "boolean", "nested"])
def test_saved_model_draws_the_same(models, kind, tmp_path):
    models[kind].save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert loaded.card == models[kind].card
    assert loaded.to("cpu") is loaded
    assert np.array_equal(loaded((16, 16, 16), seed=9, steps=3), models[kind]((16, 16, 16), seed=9))
    assert models[kind].card.patch == SHAPE


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("boolean", {"grains": 1}, "radii_vox"),
        ("boolean", {"grains": 2, "radii_vox": [1.0], "intensities": [1.0]}, "grains 0 or 1"),
        ("boolean", {"grains": 1, "radii_vox": [1.0], "intensities": [-1.0]}, "above 0"),
        ("boolean", {"grains": 1, "radii_vox": [1.0, 2.0], "intensities": [1.0]}, "as many"),
        ("gaussian", {"order": [0, 1]}, "levels"),
        ("gaussian", {"order": [0, 0], "levels": [0.0]}, "do not fit"),
    ],
)
def test_damaged_model_is_refused(models, tmp_path, kind, settings, message):
    models[kind].save_pretrained(tmp_path)
    card = json.loads((tmp_path / "material.json").read_text())
    (tmp_path / "material.json").write_text(json.dumps(card | {"settings": settings}))
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_gaussian_model_without_usable_kernels_is_refused(models, tmp_path):
    models["gaussian"].save_pretrained(tmp_path)
    path = tmp_path / "kernels.safetensors"
    save_file({"kernel_0": np.full((3, 3, 3), np.nan, np.float32)}, path)
    with pytest.raises(ValueError, match="cube of finite numbers"):
        load(tmp_path)
    path.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="complete Gaussian model"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("fit", "labels", "message"),
    [
        (fit_gaussian, np.zeros((20, 20, 20), int), "phase"),
        (fit_boolean, np.ones((20, 20, 20), int), "phase"),
        (fit_gaussian, np.indices((20, 20, 15)).sum(axis=0) % 2, "20x20x15 voxels, too few"),
        (fit_boolean, np.indices((8, 8, 8)).sum(axis=0) % 2, "at least 16 voxels"),
        (fit_boolean, np.indices((20, 20, 20)).sum(axis=0) % 3, "3 phases; a Boolean model has two"),
        (fit_gaussian, np.indices((20, 20, 20)).sum(axis=0) % 7, "7 phases; a Gaussian model is fitted to at most 6"),
        (fit_gaussian, np.ones((20, 20)), "3-D"),
    ],
)
def test_material_that_cannot_be_fitted_is_refused(fit, labels, message):
    with pytest.raises(ValueError, match=message):
        fit(labels)


@pytest.mark.parametrize("kind", ["gaussian", "boolean"])
@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"shape": (8, 8)}, "three whole lengths"),
        ({"count": 0}, "count is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"fractions": (0.5, 0.2, 0.3)}, "2 phases"),
        ({"fractions": (0.5, 0.4)}, "add up to 0.9"),
    ],
)
def test_impossible_requests_are_refused(models, kind, asked, message):
    with pytest.raises(ValueError, match=message):
        models[kind](**asked)


@pytest.mark.parametrize("fit", [fit_gaussian, fit_boolean])
def test_checkerboard_and_noise_are_fitted_without_a_warning(fit):
    """Correlations that no such model has, or that end within a voxel, give some model all the same."""
    for labels in (np.indices((16, 16, 16)).sum(axis=0) % 2, np.random.default_rng(0).integers(0, 2, (18, 16, 17))):
        drawn = fit(labels)((12, 12, 12), count=4)
        assert 0.2 < drawn.mean() < 0.8


def corner(*edges):
    """A material whose later phases fill one corner, as a sample with a particle at its rim does."""
    labels = np.zeros((16, 16, 16), np.uint8)
    for label, edge in enumerate(edges, start=1):
        labels[:edge, :edge, :edge] = label
    return labels


def test_phases_on_every_other_voxel_are_fitted_in_turn():
    """Of neighbours that are never both in what is left nothing can be told, and no number becomes undefined."""
    rng = np.random.default_rng(0)
    labels = np.where(np.indices((16, 16, 16)).sum(axis=0) % 2, rng.integers(1, 3, (16, 16, 16)), 0)
    model = fit_gaussian(labels)
    assert np.isfinite(model.card.settings["s2_error"]).all()
    assert all(np.isfinite(kernel).all() for kernel in model.kernels)
    assert np.bincount(model((24,) * 3)[0].ravel(), minlength=3).min() > 0


@pytest.mark.parametrize("fit", [fit_gaussian, lambda labels: fit_gaussian(labels, anisotropic=True), fit_boolean])
@pytest.mark.parametrize("labels", [corner(4), 1 - corner(5), np.indices((16, 16, 16))[0] // 4 % 2])
def test_phase_in_a_corner_and_layers_are_fitted_with_their_fraction(fit, labels):
    drawn = fit(labels)((16, 16, 16), count=2, seed=1, fractions=(1 - labels.mean(), labels.mean()))
    assert drawn.sum(axis=(1, 2, 3)).tolist() == [labels.sum()] * 2


# The script


@pytest.mark.parametrize("kind", ["gaussian", "boolean"])
def test_script_fits_draws_and_leaves_a_model_that_draws_the_same(tmp_path, kind, capsys):
    config = f"configs/generative/{kind}.yaml"
    small = ["--set", "material.recipe.shape=[40, 40, 40]", "--set", "shape=[16, 16, 16]", "--set", "count=2"]
    main(["--config", config, "--out", str(tmp_path), *small])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["model"] == kind
    assert summary["fit"]["s2_error"]
    assert "S2 is off" in capsys.readouterr().out
    labels = load(tmp_path)((16, 16, 16), count=2, seed=0)
    for i in range(2):
        assert np.array_equal(volume.read(tmp_path / "samples" / f"sample-{i:03d}.tif").array, labels[i])


@pytest.mark.parametrize(
    ("change", "message"), [("count=0", "'count' is 0"), ("seed=-1", "'seed' is -1"), ("anisotropic=true", "balls")]
)
def test_script_refuses_in_one_line(tmp_path, change, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--config", "configs/generative/boolean.yaml", "--out", str(tmp_path), "--set", change])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
