import numpy as np
import pytest
from scipy import optimize, special

from segment.trust import apply_temperature, fit_temperature, reliability


def _case(temperature, *, n=2, shape=(10, 40, 40), bias=0.0, seed=0):
    """Logits whose labels are drawn from softmax(logits / temperature + bias)."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((n, *shape))
    p = special.softmax(logits / temperature + np.reshape(bias, (-1, 1, 1, 1)), axis=0)
    return logits, (rng.random(shape) > np.cumsum(p, axis=0)[:-1]).sum(axis=0).astype(np.uint8)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 6.0])
@pytest.mark.parametrize("n", [2, 4])
def test_a_known_temperature_is_recovered_within_its_standard_error(temperature, n):
    found = fit_temperature(*_case(temperature, n=n))
    assert abs(found.temperature - temperature) < 4 * found.standard_error
    assert found.standard_error < 0.05 * temperature
    assert found.bias == (0.0,) * n


def test_the_standard_error_is_the_scatter_of_repeated_fits():
    fits = [fit_temperature(*_case(2.0, shape=(4, 10, 10), seed=seed)) for seed in range(60)]
    scatter = np.std([fit.temperature for fit in fits], ddof=1)
    # The spread of 60 Gaussian numbers is known to 1 / √118.
    assert abs(scatter / np.mean([fit.standard_error for fit in fits]) - 1) < 4 / np.sqrt(118)


def test_no_other_temperature_is_more_likely():
    logits, labels = _case(1.7, n=3, shape=(3, 12, 12))

    def loss(log_t):
        log_p = special.log_softmax(logits / np.exp(log_t), axis=0)
        return -np.take_along_axis(log_p, labels[None].astype(int), axis=0).mean()

    best = optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
    found = fit_temperature(logits, labels)
    assert np.log(found.temperature) == pytest.approx(best.x, abs=1e-4)
    assert found.before == pytest.approx(loss(0.0), rel=1e-12)
    assert found.after == pytest.approx(best.fun, rel=1e-9)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_the_likelihood_never_falls_even_for_labels_that_have_nothing_to_do_with_the_logits(bias, seed):
    rng = np.random.default_rng(seed)
    logits = 10.0 ** rng.uniform(-3, 3) * rng.standard_normal((3, 2, 5, 5))
    found = fit_temperature(logits, rng.integers(0, 3, (2, 5, 5)), bias=bias)
    assert found.after <= found.before
    assert 0.05 <= found.temperature <= 20
    assert np.all(np.abs(found.bias) <= 10)


def test_biases_and_temperature_are_recovered_together():
    wanted = (0.0, 0.7, -1.2)
    logits, labels = _case(1.5, n=3, shape=(10, 60, 60), bias=wanted)
    found = fit_temperature(logits, labels, bias=True)
    assert abs(found.temperature - 1.5) < 4 * found.standard_error
    # A bias rests on no fewer voxels than the rarer of its two phases, each of a variance above p (1 - p) >= 0.02.
    rare = min(np.bincount(labels.ravel()))
    np.testing.assert_allclose(found.bias, wanted, atol=4 / np.sqrt(0.02 * rare))
    assert found.after < fit_temperature(logits, labels).after
    honest = apply_temperature(special.softmax(logits, axis=0), found.temperature, bias=found.bias)
    # At the optimum the mean probability of each phase is its fraction.
    np.testing.assert_allclose(honest.mean(axis=(1, 2, 3)), np.bincount(labels.ravel()) / labels.size, atol=1e-5)


def test_logarithms_of_probabilities_and_slabs_give_what_logits_give():
    logits, labels = _case(2.0, n=3)
    expected = fit_temperature(logits, labels)
    of_log_p = fit_temperature(special.log_softmax(logits, axis=0), labels)
    of_slabs = fit_temperature([(logits[:, :3], labels[:3]), (logits[:, 3:], labels[3:])])
    for found in (of_log_p, of_slabs):
        assert found.temperature == pytest.approx(expected.temperature, rel=1e-9)


def test_applied_to_probabilities_it_is_the_softmax_of_the_divided_logits():
    logits, _ = _case(1.0, n=4)
    for t in (0.3, 1.0, 7.0):
        found = apply_temperature(special.softmax(logits, axis=0), t)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, special.softmax(logits / t, axis=0), atol=1e-6)


def test_the_most_probable_phase_stays():
    logits, _ = _case(1.0, n=3)
    p = special.softmax(logits, axis=0)
    np.testing.assert_array_equal(apply_temperature(p, 3.0).argmax(axis=0), p.argmax(axis=0))


def test_an_overconfident_segmenter_becomes_calibrated():
    logits, labels = _case(3.0)
    p = special.softmax(logits, axis=0)
    cooled = apply_temperature(p, fit_temperature(logits, labels).temperature)
    before, after = reliability(p, labels), reliability(cooled, labels)
    assert before.top.expected_calibration_error > 0.1
    # 15 bins of about 1000 voxels scatter by 0.016 each, their mean absolute value by less.
    assert after.top.expected_calibration_error < 0.016
    assert after.negative_log_likelihood < before.negative_log_likelihood


def test_certain_probabilities_stay_finite():
    p = np.array([[1.0, 0.0], [0.0, 1.0]]).reshape(2, 1, 1, 2)
    np.testing.assert_allclose(apply_temperature(p, 20.0)[0].ravel(), [1, 0], atol=0.013)
    assert np.isfinite(apply_temperature(p, 1e-3)).all()
    with np.errstate(divide="ignore"):
        found = fit_temperature(np.log(p), np.array([[[0, 0]]]))
    # Right once and wrong once, and sure of both: nothing is sure.
    assert found.temperature == 20
    assert found.standard_error == np.inf


def test_a_segmenter_that_is_always_right_is_as_cold_as_allowed():
    logits, _ = _case(1.0)
    found = fit_temperature(logits, logits.argmax(axis=0))
    assert found.temperature == pytest.approx(0.05)
    assert found.standard_error == np.inf


LOGITS, ZEROS = np.zeros((2, 2, 3, 4)), np.zeros((2, 3, 4), np.uint8)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: fit_temperature(LOGITS * np.nan, ZEROS), "NaN or \\+infinity"),
        (lambda: fit_temperature(LOGITS + np.inf, ZEROS), "NaN or \\+infinity"),
        (lambda: fit_temperature(iter([(LOGITS, ZEROS)])), "used up after one pass"),
        (lambda: fit_temperature(LOGITS.astype(str), ZEROS), "give real numbers"),
        (lambda: fit_temperature([(LOGITS[:, :0], ZEROS[:0])]), "hold no voxel"),
        (lambda: apply_temperature(LOGITS, 1.0), "miss a sum of 1"),
        (lambda: apply_temperature(LOGITS + 0.5, 0.0), "temperature is 0.0"),
        (lambda: apply_temperature(LOGITS + 0.5, np.nan), "temperature is nan"),
        (lambda: apply_temperature(LOGITS + 0.5, "1"), "temperature is '1'"),
        (lambda: apply_temperature(LOGITS + 0.5, 1.0, bias=[1.0]), "one finite number for each of the 2 phases"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
