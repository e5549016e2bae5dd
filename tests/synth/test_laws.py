import dataclasses
import math

import numpy as np
import pytest

from launch import convert, to_plain
from synth.laws import Choice, Law, LogUniform, Sometimes, Uniform, check_range, draw, has_laws

LAWS = [Uniform(2.0, 5.0), LogUniform(0.01, 10.0), Choice((1.0, 4.0, 2.0)), Sometimes(0.3, Uniform(1.0, 2.0))]


@dataclasses.dataclass(frozen=True)
class Group:
    strength: float | Law = 0.0


@dataclasses.dataclass(frozen=True)
class Instrument:
    dose: float | Law = 100.0
    greys: tuple[float | Law, ...] = (0.5,)
    group: Group | Law | None = None
    bits: int | Law | None = None
    detector: str | Law = "SE"

    def __post_init__(self):
        check_range("dose", self.dose, above=0)


DOMAIN = Instrument(
    dose=LogUniform(10.0, 1000.0),
    greys=(Uniform(0.1, 0.2), 0.5),
    group=Sometimes(0.5, Group(Uniform(1.0, 2.0)), None),
    bits=Choice((8, 16, None)),
    detector=Choice(("SE", "BSE")),
)


@pytest.mark.parametrize("law", LAWS)
def test_what_is_drawn_lies_in_the_support_and_fills_it(law):
    rng = np.random.default_rng(0)
    low, high = law.support()
    drawn = [law.draw(rng) for _ in range(2000)]
    assert low <= min(drawn) <= low + 0.02 * (high - low)
    assert high - 0.02 * (high - low) <= max(drawn) <= high


def test_uniform_and_log_uniform_have_their_means():
    rng = np.random.default_rng(1)
    n = 20_000
    uniform = [Uniform(2.0, 5.0).draw(rng) for _ in range(n)]
    assert np.mean(uniform) == pytest.approx(3.5, abs=4 * 3 / math.sqrt(12 * n))
    logs = np.log([LogUniform(0.1, 10.0).draw(rng) for _ in range(n)])
    assert logs.mean() == pytest.approx(0, abs=4 * np.ptp(np.log([0.1, 10])) / math.sqrt(12 * n))


def test_sometimes_happens_with_its_probability():
    rng = np.random.default_rng(2)
    happened = [Sometimes(0.3, 7.0, -1.0).draw(rng) == 7.0 for _ in range(10_000)]
    assert np.mean(happened) == pytest.approx(0.3, abs=4 * math.sqrt(0.3 * 0.7 / 10_000))


def test_drawing_leaves_no_law_at_any_depth_and_keeps_numbers():
    assert has_laws(DOMAIN)
    for seed in range(20):
        drawn = draw(DOMAIN, np.random.default_rng(seed))
        assert not has_laws(drawn)
        assert 10 <= drawn.dose <= 1000
        assert 0.1 <= drawn.greys[0] <= 0.2
        assert drawn.greys[1] == 0.5
        assert drawn.group is None or 1 <= drawn.group.strength <= 2
    assert draw(Instrument(), np.random.default_rng(0)) == Instrument()


def test_seed_decides_what_is_drawn_and_the_generators_own_numbers_stay():
    first, second = np.random.default_rng(5), np.random.default_rng(5)
    assert draw(DOMAIN, first) == draw(DOMAIN, second) != draw(DOMAIN, np.random.default_rng(6))
    assert first.random() == np.random.default_rng(5).random()


def test_a_field_is_drawn_alike_whatever_the_others_are():
    fewer = Instrument(dose=DOMAIN.dose)
    for seed in range(5):
        assert draw(DOMAIN, np.random.default_rng(seed)).dose == draw(fewer, np.random.default_rng(seed)).dose


def test_fields_with_the_same_law_are_drawn_independently():
    pair = (Uniform(0.0, 1.0), Uniform(0.0, 1.0))
    drawn = np.array([draw(pair, np.random.default_rng(seed)) for seed in range(400)])
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 4 / math.sqrt(400)


@pytest.mark.parametrize("law", [*LAWS, Sometimes(0.1, Choice(("a", None)), None)])
def test_law_in_plain_text_is_read_as_itself(law):
    assert Law.from_plain(to_plain(law), "x") == law


def test_settings_with_laws_survive_plain_text():
    domain = dataclasses.replace(DOMAIN, group=Group(Uniform(1.0, 2.0)))
    assert convert(to_plain(domain), Instrument, "settings") == domain


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"gauss": [0, 1]}, "'dose' is {'gauss': .*one law of uniform, log_uniform, choice, sometimes"),
        ({"uniform": [1, 2], "choice": [1]}, "one law of"),
        ({"uniform": 3}, "with a list"),
        ({"choice": []}, "with a list"),
        ({}, "one law of"),
        ({"uniform": [2, 1]}, r"'dose': uniform takes \[low, high\], two numbers, not \[2, 1\]"),
        ({"uniform": [1, 2, 3]}, "two numbers"),
        ({"uniform": ["a", 2]}, "two numbers"),
        ({"uniform": [1, math.inf]}, "two numbers"),
        ({"log_uniform": [0, 1]}, "two numbers above 0"),
        ({"sometimes": [0.5]}, "sometimes takes"),
        ({"sometimes": [1.5, 2]}, "probability is 1.5"),
        ({"sometimes": [0.5, {"gauss": [1]}]}, "one law of"),
    ],
)
def test_what_is_no_law_is_refused_in_one_sentence(plain, message):
    with pytest.raises(ValueError, match=message) as caught:
        Law.from_plain(plain, "dose")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (-0.1, {"low": 0}, "dose is -0.1; give a number of at least 0"),
        (1.1, {"low": 0, "high": 1}, "of at least 0 and of at most 1"),
        (0, {"above": 0}, "above 0"),
        (90, {"low": 0, "below": 90}, "of at least 0 and below 90"),
        (math.nan, {}, "that is finite"),
        (math.inf, {"low": 0}, "of at least 0"),
        (True, {}, "dose is True; give a number"),
        ("much", {}, "dose is 'much'; give a number"),
        (Uniform(-1, 1), {"low": 0}, r"dose is {'uniform': \[-1, 1\]}"),
        (Sometimes(0.5, LogUniform(0.1, 3), 0), {"above": 0}, "above 0"),
        (Choice((1, 2, 30)), {"high": 10}, "of at most 10"),
        (Choice(("a", None)), {"high": 10}, "of at most 10"),
        (Choice((20, "steep")), {"high": 30}, "of at most 30"),
        (Choice((20, math.nan)), {"high": 30}, "of at most 30"),
        (Sometimes(0.5, Choice((1, True))), {"high": 30}, "of at most 30"),
    ],
)
def test_number_or_law_that_may_leave_its_range_is_refused(value, limits, message):
    with pytest.raises(ValueError, match=message):
        check_range("dose", value, **limits)


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.25), Uniform(0, 1), Sometimes(0.5, 1, 0), Choice((0, 1))])
def test_number_or_law_that_stays_in_its_range_is_let_through(value):
    assert check_range("dose", value, low=0, high=1) is None


@pytest.mark.parametrize(
    "make", [lambda: Uniform(2, 1), lambda: LogUniform(-1, 1), lambda: Choice(()), lambda: Sometimes(2, 1)]
)
def test_law_that_cannot_be_drawn_from_is_refused(make):
    with pytest.raises(ValueError, match=r"takes|no options|probability"):
        make()
