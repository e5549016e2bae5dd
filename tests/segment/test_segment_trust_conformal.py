import math

import numpy as np
import pytest

from segment.trust import conformal_interval, coverage_of, scaled_interval


def _wide(errors, coverage=0.9, value=0.0):
    return conformal_interval(value, errors, coverage=coverage, bounds=(-np.inf, np.inf))


def _wide_scaled(errors, difficulties, difficulty, coverage=0.9):
    return scaled_interval(
        0.0, errors, difficulties, difficulty=difficulty, coverage=coverage, bounds=(-np.inf, np.inf)
    )


@pytest.mark.parametrize("count", [1, 4, 9, 19, 30])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_of_every_bag_of_volumes_the_promised_share_is_covered_exactly(count, coverage):
    """Exchangeability: each of the N + 1 volumes is as likely as the others to be the one not calibrated with."""
    errors = np.random.default_rng(count).standard_cauchy(count + 1)
    held, promised = 0, set()
    for i in range(count + 1):
        found = _wide(np.delete(errors, i), coverage)
        # The truth is value - error, the value 0.
        held += found.low <= -errors[i] <= found.high
        promised.add(found.coverage)
    assert promised == {held / (count + 1)}
    assert held == min(count, math.ceil(round(coverage * (count + 1), 9)))


@pytest.mark.parametrize("count", [1, 4, 9, 20])
def test_scaled_intervals_cover_the_promised_share_of_every_bag_exactly_too(count):
    rng = np.random.default_rng(count)
    # Difficulties that are worth nothing, or worth much, or mostly 0, change nothing in that.
    for difficulties in (rng.random(count + 1), rng.exponential(size=count + 1) ** 3, rng.random(count + 1) // 0.8):
        errors = rng.standard_normal(count + 1)
        held = 0
        for i in range(count + 1):
            others, hard = np.delete(errors, i), np.delete(difficulties, i)
            found = _wide_scaled(others, hard, difficulties[i])
            held += found.low <= -errors[i] <= found.high
        assert found.coverage == held / (count + 1)


def test_coverage_holds_over_fresh_draws():
    rng, repeats, count = np.random.default_rng(0), 2000, 12
    draws = rng.standard_t(3, (repeats, count + 1))
    held = 0
    for *errors, own in draws:
        found = _wide(errors, 0.8)
        held += found.low <= -own <= found.high
    # ⌈0.8 · 13⌉ of 13.
    assert found.coverage == 11 / 13
    assert abs(held / repeats - 11 / 13) < 4 * math.sqrt(11 / 13 * 2 / 13 / repeats)


def test_a_good_difficulty_makes_intervals_narrower_and_hard_volumes_wider():
    rng = np.random.default_rng(1)
    difficulties = 10 ** rng.uniform(-2, 0, 60)
    truths, values = np.zeros(60), difficulties * rng.standard_normal(60)
    limits = {"bounds": (-np.inf, np.inf)}
    plain = coverage_of(values, truths, **limits)
    scaled = coverage_of(values, truths, difficulties=difficulties, **limits)
    assert scaled.mean_width < 0.8 * plain.mean_width
    assert abs(scaled.measured - 0.9) < 4 * scaled.standard_error
    assert scaled.standard_error == pytest.approx(math.sqrt(0.09 / 60))


def test_the_harder_the_volume_the_wider_its_interval():
    rng = np.random.default_rng(2)
    errors, difficulties = rng.standard_normal(10), rng.random(10)
    high = [_wide_scaled(errors, difficulties, own).high for own in np.linspace(0, 2, 101)]
    assert np.all(np.diff(high) >= -1e-12)
    assert high[-1] > 1.5 * high[0]


@pytest.mark.parametrize("difficulty", [0.0, 0.3])
def test_equal_difficulties_give_the_plain_interval(difficulty):
    errors = np.random.default_rng(3).standard_normal(15)
    found = _wide_scaled(errors, np.full(15, difficulty), difficulty)
    assert found.high == pytest.approx(_wide(errors).high, rel=1e-12)


def test_more_coverage_is_never_narrower():
    errors = np.random.default_rng(4).standard_normal(25)
    widths = [_wide(errors, coverage).high for coverage in np.linspace(0.02, 0.98, 49)]
    assert np.all(np.diff(widths) >= 0)
    assert widths[0] < widths[-1]


def test_intervals_are_clipped_to_what_is_possible():
    found = conformal_interval(0.05, [0.1] * 20)
    assert (found.low, found.high) == (0.0, pytest.approx(0.15))
    found = conformal_interval(0.97, [0.1] * 20)
    assert (found.low, found.high) == (pytest.approx(0.87), 1.0)
    # Even a prediction that is itself impossible has an interval of possible values.
    assert conformal_interval(1.5, [0.1] * 20) == conformal_interval(1.2, [0.1] * 20)


def test_without_errors_everything_is_possible():
    found = conformal_interval(0.4, [])
    assert (found.low, found.high, found.coverage) == (0.0, 1.0, 1.0)
    assert scaled_interval(0.4, [], [], difficulty=0.1) == found


@pytest.mark.parametrize("count", [2, 7, 30])
def test_leaving_out_single_volumes_covers_a_share_that_does_not_depend_on_the_errors(count):
    rng = np.random.default_rng(count)
    found = coverage_of(rng.random(count), rng.random(count), coverage=0.8)
    assert found.measured == min(count - 1, math.ceil(round(0.8 * count, 9))) / count


def test_a_group_unlike_the_others_is_not_covered_by_them():
    rng = np.random.default_rng(5)
    truths = np.full(40, 0.5)
    values = truths + 0.01 * rng.standard_normal(40)
    values[30:] += 0.1
    groups = ["shale"] * 15 + ["sandstone"] * 15 + ["electrode"] * 10
    found = coverage_of(values, truths, groups=groups)
    # The electrode's errors of 0.1 are never seen by itself, and more than cover the others.
    assert found.measured == 30 / 40
    assert found.mean_width > 0.1
    assert coverage_of(values, truths).measured == 36 / 40


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: conformal_interval(np.nan, [0.1]), "value is nan"),
        (lambda: conformal_interval(0.4, [0.1, np.inf]), "errors have shape"),
        (lambda: conformal_interval(0.4, ["a"]), "give a list of numbers"),
        (lambda: conformal_interval(0.4, 0.1), r"errors have shape \(\)"),
        (lambda: conformal_interval(0.4, [0.1], coverage=1.0), "coverage is 1.0"),
        (lambda: conformal_interval(0.4, [0.1], coverage=0), "coverage is 0"),
        (lambda: conformal_interval(0.4, [0.1], bounds=(1, 0)), "the smaller first"),
        (lambda: conformal_interval(0.4, [0.1], bounds=(0, np.nan)), "the smaller first"),
        (lambda: scaled_interval(0.4, [0.1], [0.1, 0.2], difficulty=0.1), "1 errors and 2 difficulties"),
        (lambda: scaled_interval(0.4, [0.1], [-0.1], difficulty=0.1), "smallest difficulty is -0.1"),
        (lambda: scaled_interval(0.4, [0.1], [0.1], difficulty=-1.0), "smallest difficulty is -1.0"),
        (lambda: scaled_interval(0.4, [0.1], [0.1], difficulty=np.nan), "difficulty is nan"),
        (lambda: coverage_of([0.1, 0.2], [0.1]), "2 values and 1 truths"),
        (lambda: coverage_of([0.1, 0.2], [0.1, 0.2], groups=[1]), "2 values and 1 groups"),
        (lambda: coverage_of([0.1, 0.2], [0.1, 0.2], difficulties=[1]), "2 values and 1 difficulties"),
        (lambda: coverage_of([0.1, 0.2], [0.1, 0.2], groups=[1, 1]), "all volumes are of one group"),
        (lambda: coverage_of([0.1], [0.1]), "all volumes are of one group"),
    ],
)
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
