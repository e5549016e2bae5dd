"""Repeated and too similar volumes are told from independent ones."""

import math

import numpy as np
import pytest

from evaluate.likeness.variety import diversity
from synth import gaussian_phases


def medium(seed, shape=(24, 24, 24), fractions=(0.4, 0.6), length=3):
    return gaussian_phases(shape, fractions=fractions, length_vox=length, rng=seed).labels


REAL = medium(99, (72, 72, 72))
FAST = {"size": 12, "count": 8, "symmetry": "flips", "rng": 0}
# Parts of one large medium, so that fractions vary as they do in the material.
WHOLE = medium(98, (72, 72, 72))
PARTS = [WHOLE[z : z + 24, y : y + 24, x : x + 24] for z in (0, 48) for y in (0, 48) for x in (0, 48)]


@pytest.fixture(scope="module")
def of_parts():
    return diversity(PARTS, REAL, **FAST)


def test_eight_copies_of_two_volumes_are_found():
    found = diversity([PARTS[i % 2] for i in range(8)], REAL, **FAST)
    assert (found.verdict, found.n_volumes, found.n_distinct) == ("duplicates", 8, 2)
    assert found.share_of_duplicates == np.mean(found.generated.content >= 0.25 * (1 - 0.6))
    assert np.all(found.generated.distance == 0)
    assert np.all(found.generated.origin[:, 0] != found.generated.place[:, 0])


def test_shifted_mirrored_and_noisy_copies_are_found():
    rng = np.random.default_rng(0)
    base = medium(1, (28, 28, 28))
    wrong = rng.random(base.shape) < 0.03
    shifted = [base[2:26, 1:25, 3:27], base[:24, 4:28, 2:26][::-1], (base ^ wrong)[3:27, :24, :24][:, ::-1]]
    found = diversity([*PARTS[:4], *shifted], REAL, **(FAST | {"count": 21}))
    assert found.verdict == "duplicates"
    assert found.n_distinct == 5
    assert set(found.generated.origin[found.generated.relative < found.threshold, 0]) == {4, 5, 6}


def test_parts_of_the_material_are_as_diverse_as_the_material(of_parts):
    found = of_parts
    assert found.verdict == "as diverse as the material"
    assert (found.n_distinct, found.part, found.n_parts) == (8, (24, 24, 24), 27)
    # 14 numbers, each within its 99.9 % interval of F(7, 26).
    from scipy.stats import f

    assert all(f.ppf(5e-4, 7, 26) < entry.ratio < f.ppf(1 - 5e-4, 7, 26) for entry in found.coverage)
    assert all(entry.low < entry.ratio < entry.high for entry in found.coverage)


def test_volumes_of_the_same_exact_fraction_cover_too_little_of_it():
    found = diversity([medium(seed) for seed in range(8)], REAL, **FAST)
    fraction = next(e for e in found.coverage if (e.quantity, e.phase) == ("volume_fraction", 0))
    assert fraction.ratio < 1e-3
    assert fraction.p_adjusted < 1e-6
    assert found.verdict == "less diverse than the material"


def test_coverage_is_the_ratio_of_the_variances_of_the_boxes(of_parts):
    boxes = REAL.reshape(3, 24, 3, 24, 3, 24)
    theirs = np.var((boxes == 1).mean(axis=(1, 3, 5)), ddof=1)
    ours = np.var([np.mean(part == 1) for part in PARTS], ddof=1)
    entry = next(e for e in of_parts.coverage if (e.quantity, e.phase) == ("volume_fraction", 1))
    assert entry.ratio == pytest.approx(ours / theirs, rel=1e-9)
    assert (entry.generated, entry.real) == pytest.approx((math.sqrt(ours), math.sqrt(theirs)), rel=1e-9)


def test_little_material_is_compared_in_smaller_boxes():
    found = diversity(PARTS[:4], REAL[:40, :40, :40], **FAST)
    assert (found.part, found.n_parts) == ((20, 20, 20), 8)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"volumes": PARTS[:2]}, "give at least three volumes of one shape"),
        ({"volumes": [*PARTS[:3], PARTS[0][1:]]}, "give at least three volumes of one shape"),
        ({"real": REAL[:20, :20, :20]}, "real holds fewer than 8 boxes of 12 voxels"),
        ({"size": 30}, r"volumes\[0\] has shape \(24, 24, 24\); patches of 30 voxels do not fit"),
        ({"count": 0}, "count is 0; it must be from 2"),
        ({"level": 0}, "level is 0; it must be a number above 0"),
        ({"symmetry": None}, "symmetry is None; it must be one of"),
        ({"real": REAL * 0.1}, "real holds fractional or NaN"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(change, sentence):
    arguments = {"volumes": PARTS, "real": REAL, **FAST} | change
    with pytest.raises(ValueError, match=sentence):
        diversity(arguments.pop("volumes"), arguments.pop("real"), **arguments)
