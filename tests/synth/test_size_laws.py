import json

import numpy as np
import pytest
from scipy import stats

from synth.size_laws import distribution_mapping, frozen_distribution


@pytest.mark.parametrize(
    ("law", "median"),
    [
        ({"name": "lognorm", "s": 0.4, "scale": 7.0}, 7.0),
        ({"name": "norm", "loc": 5, "scale": 2}, 5.0),
        ({"name": "uniform", "loc": 2, "scale": 6}, 5.0),
        ({"name": "expon", "scale": 3}, 3 * np.log(2)),
        ({"name": "weibull_min", "c": 2, "scale": 3}, 3 * np.sqrt(np.log(2))),
        ({"name": "norm", "loc": "1e1"}, 10.0),
    ],
)
def test_named_law_has_the_median_of_its_formula(law, median):
    assert frozen_distribution(law).median() == pytest.approx(median, rel=1e-12)


def test_lognormal_draws_have_their_log_deviation():
    sizes = frozen_distribution({"name": "lognorm", "s": 0.3, "scale": 8.0}).rvs(4000, random_state=1)
    # The standard error of a standard deviation s of n draws is s / sqrt(2n).
    assert np.log(sizes).std() == pytest.approx(0.3, abs=4 * 0.3 / np.sqrt(8000))


def test_frozen_law_is_returned_as_it_is():
    law = stats.gamma(2.0, scale=3.0)
    assert frozen_distribution(law) is law


@pytest.mark.parametrize(
    "law",
    [stats.gamma(2.0, 1.0, 3.0), stats.gamma(a=2.0, scale=3.0), stats.norm(), stats.beta(2, b=3), stats.lognorm(0.3)],
)
def test_plain_text_makes_the_same_law_again(law):
    text = json.loads(json.dumps(distribution_mapping(law)))
    quantiles = np.linspace(0.01, 0.99, 25)
    assert np.array_equal(frozen_distribution(text).ppf(quantiles), law.ppf(quantiles))
    assert distribution_mapping(text) == text


def test_caller_s_mapping_is_left_alone():
    law = {"name": "norm", "loc": 3.0}
    frozen_distribution(law)
    assert law == {"name": "norm", "loc": 3.0}


@pytest.mark.parametrize(
    ("law", "sentence"),
    [
        ({"name": "gauss"}, "named 'gauss'; known are alpha, .*norm,"),
        ({"name": "poisson", "mu": 2}, "named 'poisson'; known are"),
        ({"name": "rv_continuous"}, "named 'rv_continuous'; known are"),
        ({"loc": 3}, "named None; known are"),
        ({"name": ["norm"]}, "known are"),
        ({"name": "norm", "mean": 3}, "'norm' has no parameter 'mean'; it has loc, scale"),
        ({"name": "lognorm", "scale": 3}, "'lognorm' needs 's'; it has s, loc, scale"),
        ({"name": "norm", "loc": "wide"}, "'loc' of the law of sizes 'norm' is 'wide'; give a finite number"),
        ({"name": "norm", "loc": [1, 2]}, "give a finite number"),
        ({"name": "norm", "scale": np.inf}, "give a finite number"),
        ({"name": "norm", "scale": np.nan}, "give a finite number"),
        ({"name": "norm", "scale": -1}, "'norm' does not allow scale=-1"),
        ({"name": "norm", "scale": 0}, "does not allow scale=0"),
        ({"name": "beta", "a": -2, "b": 1}, "does not allow a=-2, b=1"),
        (stats.norm(0, -1), "does not allow"),
        (stats.norm([1.0, 2.0]), "arrays as parameters"),
        (stats.poisson(3), "give a mapping such as"),
        (stats.norm, "give a mapping such as"),
        (8.0, "give a mapping such as"),
        (None, "give a mapping such as"),
    ],
)
def test_bad_law_is_refused_with_a_sentence(law, sentence):
    with pytest.raises(ValueError, match=sentence):
        frozen_distribution(law)


def test_law_of_one_s_own_has_no_plain_text():
    own = stats.rv_histogram(np.histogram([1.0, 2.0, 2.5], bins=3))
    assert frozen_distribution(own()) is not None
    with pytest.raises(ValueError, match=r"none of scipy\.stats"):
        distribution_mapping(own())
