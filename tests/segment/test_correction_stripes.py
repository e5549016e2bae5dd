import numpy as np
import pytest
from scipy import ndimage

from segment.correction import estimate_stripes, stripe_spectrum, undo_stripes, wedge_filter
from segment.correction.stripe_steps import stripes_from_steps

SHAPE = (12, 160, 160)


def porous(seed=0, *, noise=0.05, limit=-1.2):
    """Return grey values and faces of blobs with about a tenth of pores."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(SHAPE), 5, mode="wrap")
    face = field / field.std() > limit
    grey = ndimage.gaussian_filter(np.where(face, 0.7, 0.2), (0, 0.7, 0.7))
    return (grey + noise * rng.standard_normal(SHAPE)).astype(np.float32), face


def curtains(face, *, slope=0.0, rms=0.05, seed=0):
    """Stripes on the faces, half of them beginning at a row of their own, the same in neighbouring slices."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    field = np.zeros(SHAPE)
    for number in range(40):
        place, width = rng.uniform(0, SHAPE[2]), rng.uniform(1, 3)
        shape = np.exp(-(((x - place - slope * (y - SHAPE[1] / 2)) / width) ** 2) / 2)
        if number % 2:
            shape *= y > rng.uniform(0, SHAPE[1])
        strength = ndimage.gaussian_filter1d(rng.standard_normal(SHAPE[0] + 40), 4)[20:-20] * 4
        field += strength[:, None, None] * shape
    field -= np.array([f[m].mean() for f, m in zip(field, face, strict=True)])[:, None, None]
    field *= face
    return (field * rms / field[face].std()).astype(np.float32)


def reduction_db(stripy, out, clean):
    return 10 * np.log10(np.sum((stripy - clean) ** 2) / np.sum((out - clean) ** 2))


@pytest.fixture(scope="module")
def clean():
    return porous()


@pytest.mark.parametrize("slope", [0.0, 0.05])
def test_stripes_are_reduced_by_ten_decibel(clean, slope):
    grey, face = clean
    stripy = grey * (1 + curtains(face, slope=slope))
    estimate = estimate_stripes(stripy)
    assert estimate.found
    assert estimate.angle_deg == pytest.approx(np.degrees(np.arctan(slope)), abs=0.3)
    assert reduction_db(stripy, undo_stripes(stripy, estimate.field), grey) > 10
    # The usual wedge takes more of the structure than of the stripes.
    assert reduction_db(stripy, wedge_filter(stripy, angle_deg=estimate.angle_deg), grey) < 3


@pytest.mark.parametrize(("rms", "least_db"), [(0.08, 8.0), (0.16, 2.0)])
def test_stripes_that_make_faces_as_dark_as_pores_are_still_reduced(clean, rms, least_db):
    grey, face = clean
    stripy = grey * (1 + np.maximum(curtains(face, rms=rms), -0.8))
    estimate = estimate_stripes(stripy)
    assert estimate.found
    assert reduction_db(stripy, undo_stripes(stripy, estimate.field), grey) > least_db


def test_steps_across_give_a_first_guess_whatever_lies_below(clean):
    grey, _ = clean
    stripes = np.broadcast_to(0.2 * np.sin(2 * np.pi * np.arange(SHAPE[2]) / 12), SHAPE)
    guess = stripes_from_steps(grey * (1 + stripes), 0.0)
    assert np.corrcoef(guess.ravel(), stripes.ravel())[0, 1] > 0.9
    assert stripes_from_steps(grey, 0.0).std() < 0.2 * stripes.std()


def test_the_share_of_the_stripes_seen_in_pores_is_found(clean):
    grey, face = clean
    everywhere = curtains(np.ones_like(face), rms=0.1)
    assert estimate_stripes(grey * (1 + everywhere)).in_pores > 0.7
    assert estimate_stripes(grey * (1 + everywhere * face)).in_pores < 0.1


def test_a_filter_forced_on_a_clean_stack_loses_less_than_half_a_decibel(clean):
    grey, face = clean
    ideal = ndimage.gaussian_filter(np.where(face, 0.7, 0.2), (0, 0.7, 0.7))

    def loss(out):
        return 20 * np.log10(np.std(out - ideal) / np.std(grey - ideal))

    assert loss(undo_stripes(grey, estimate_stripes(grey, force=True).field)) < 0.5
    assert loss(wedge_filter(grey)) > 0.5


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("noise", "limit"), [(0.01, 0.2), (0.1, -1.2)])
def test_a_stack_without_stripes_has_none(seed, noise, limit):
    estimate = estimate_stripes(porous(seed, noise=noise, limit=limit)[0])
    assert not estimate.found
    assert not estimate.field.any()


def test_scan_lines_and_vertical_cracks_are_no_curtains(clean):
    grey, _ = clean
    lines = grey + 0.05 * np.random.default_rng(0).standard_normal((SHAPE[0], SHAPE[1], 1)).astype(np.float32)
    assert not estimate_stripes(lines).found
    cracked = grey.copy()
    cracked[:, :, 30:160:40] = 0.2
    cracked[:, :, 31:160:40] = 0.2
    assert not estimate_stripes(cracked).found


def test_a_rare_phase_is_not_wiped_out(clean):
    grey, face = clean
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    grain = (np.hypot(y - 80, x - 80) < 12) & face
    stripy = (grey - 0.15 * grain) * (1 + curtains(face))
    out = undo_stripes(stripy, estimate_stripes(stripy).field)
    contrast = out[:, 40:120][~grain[:, 40:120] & face[:, 40:120]].mean() - out[grain].mean()
    assert contrast == pytest.approx(0.15, abs=0.02)


def test_the_spectrum_shows_stripes_where_they_point(clean):
    grey, face = clean
    angle, power = stripe_spectrum(grey * (1 + curtains(face, slope=0.1)))
    assert angle[np.argmax(power)] == pytest.approx(np.degrees(np.arctan(0.1)), abs=1)
    _, even = stripe_spectrum(grey)
    assert even.max() < 2 * np.median(even)


def test_the_wedge_removes_a_wave_across_the_beam_and_keeps_one_along_it():
    y, x = np.mgrid[:96, :96]
    across, along = np.cos(2 * np.pi * x / 8), np.cos(2 * np.pi * y / 8)
    assert np.std(wedge_filter(across[None])[0]) < 0.05
    np.testing.assert_allclose(wedge_filter(along[None])[0], along, atol=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"half_angle_deg": 0}, "half_angle_deg is 0; give an angle above 0"),
        ({"half_angle_deg": 50}, "below 45"),
        ({"keep_px": np.nan}, "keep_px is nan"),
        ({"angle_deg": 60}, "angle_deg is 60"),
    ],
)
def test_wedges_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        wedge_filter(np.random.default_rng(0).random((1, 16, 16)), **arguments)


def test_stacks_too_small_and_fields_that_do_not_fit_are_refused():
    grey = np.random.default_rng(0).random((2, 48, 40))
    with pytest.raises(ValueError, match="at least 1 × 48 × 48"):
        estimate_stripes(grey)
    with pytest.raises(ValueError, match="give those of `estimate_stripes`"):
        undo_stripes(grey, np.zeros((1, 48, 40)))
    with pytest.raises(ValueError, match="not above -1"):
        undo_stripes(grey, np.full(grey.shape, -1.0))
