import importlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate import minkowski
from synth.materials.sofc_electrode import CENTRE, PRINTED, expected_sofc_phases, sofc_electrode, sofc_targets

PRESETS = ("two-phase", "three-phase")
KEYS = ("volume_fraction", "specific_surface", "euler_density")
# Every column of both tables as printed: the fractions of the real images and of each method.
COLUMNS = (
    "0.497 0.456", "0.503 0.451", "0.476 0.477", "0.53 0.423",
    "0.437 0.259 0.258", "0.434 0.262 0.258", "0.445 0.252 0.257", "0.458 0.17 0.324",
)  # fmt: skip


@pytest.fixture(scope="module", params=PRESETS)
def electrodes(request):
    return [sofc_electrode((128, 128, 128), preset=request.param, periodic=True, rng=seed) for seed in range(4)]


# What the tables mean


@pytest.mark.parametrize("column", COLUMNS)
def test_printed_fractions_add_up_to_the_share_of_neighbourhoods_that_quantimpy_visits(column):
    numbers = column.split()
    rounding = sum(0.5 * 10.0 ** -len(number.split(".")[1]) for number in numbers)
    assert sum(map(float, numbers)) == pytest.approx((63 / 64) ** 3, abs=rounding + 1e-9)


def test_quantimpy_prints_the_units_that_the_tables_are_converted_from():
    quantimpy = pytest.importorskip("quantimpy.minkowski")
    z, y, x = np.indices((64, 64, 64)) - 31.5
    radius = 20.0
    ball = z * z + y * y + x * x < radius**2
    volume, surface, _, euler = np.asarray(quantimpy.functionals(ball))
    assert volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.005)
    assert surface == pytest.approx(4 * np.pi * radius**2 / 8, rel=0.005)
    assert euler == pytest.approx(3 / (4 * np.pi))
    full = np.asarray(quantimpy.functionals(np.ones((64, 64, 64), bool)))
    assert full[0] / 64**3 == pytest.approx((63 / 64) ** 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_targets_convert_back_to_the_printed_numbers(preset):
    for row, target in zip(PRINTED[preset], sofc_targets(preset).values(), strict=True):
        visited = (63 / 64) ** 3
        assert target["volume_fraction"] * visited == pytest.approx(row[0], abs=0.001)
        assert target["specific_surface"] * visited / 8 == pytest.approx(row[1])
        assert target["euler_density"] * visited * 3 / (4 * np.pi) == pytest.approx(row[2])


def test_taken_by_the_letter_the_table_is_impossible_for_its_own_crops():
    surface, euler = PRINTED["two-phase"][0][1:]
    smooth = expected_sofc_phases("two-phase", length_vox=1.0)["pore"]
    length = smooth.specific_surface / surface
    assert euler / (smooth.euler_density / length**3) > 100
    assert 4 * 0.521 / surface > 64


# The closed forms of the presets


def test_two_phase_preset_has_the_surface_and_an_euler_density_between_the_printed_ones():
    expected, target = expected_sofc_phases("two-phase"), sofc_targets("two-phase")
    for name in target:
        assert expected[name].volume_fraction == pytest.approx(target[name]["volume_fraction"], rel=1e-9)
        assert expected[name].specific_surface == pytest.approx(target[name]["specific_surface"], rel=1e-9)
        assert expected[name].euler_density == pytest.approx(target[name]["euler_density"], rel=0.05)


def test_three_phase_preset_solves_for_all_but_the_euler_density_of_the_pores():
    expected, target = expected_sofc_phases("three-phase"), sofc_targets("three-phase")
    for name in target:
        assert expected[name].volume_fraction == pytest.approx(target[name]["volume_fraction"], rel=1e-9)
        # Printed to two digits: 5 % and 3 %.
        assert expected[name].specific_surface == pytest.approx(target[name]["specific_surface"], rel=0.005)
    for name in ("GDC", "LSCF"):
        assert expected[name].euler_density == pytest.approx(target[name]["euler_density"], rel=0.001)
    assert expected["pore"].euler_density / target["pore"]["euler_density"] == pytest.approx(0.574, abs=0.001)


@given(
    parts=st.tuples(*[st.floats(0.003, 1.0)] * 3),
    scale=st.floats(0.2, 5.0),
)
@settings(deadline=None, max_examples=25)
def test_any_fractions_are_those_of_the_closed_form_and_scale_as_lengths_do(parts, scale):
    fractions = tuple(np.array(parts) / sum(parts))
    phases = expected_sofc_phases("three-phase", fractions=fractions)
    larger = expected_sofc_phases("three-phase", fractions=fractions, scale=scale)
    for share, one, other in zip(fractions, phases.values(), larger.values(), strict=True):
        assert one.volume_fraction == pytest.approx(share, abs=1e-9)
        assert other.specific_surface * scale == pytest.approx(one.specific_surface, rel=1e-9)
        assert other.euler_density * scale**3 == pytest.approx(one.euler_density, rel=1e-9, abs=1e-15)


def test_surface_between_grains_is_what_each_phase_has_beyond_the_pores():
    pore, gdc, lscf = (phase.specific_surface for phase in expected_sofc_phases("three-phase").values())
    targets = [target["specific_surface"] for target in sofc_targets("three-phase").values()]
    assert (gdc + lscf - pore) / 2 == pytest.approx((targets[1] + targets[2] - targets[0]) / 2, rel=0.02)


# Volumes against the closed forms and the tables


def test_volumes_have_the_surface_of_the_closed_form_and_print_as_the_table(electrodes):
    expected = electrodes[0].truth["expected"]
    table = electrodes[0].truth["printed"]
    for label, name in enumerate(electrodes[0].phases):
        fine, coarse = [], []
        for electrode in electrodes:
            mask = electrode.labels == label
            fine.append(minkowski(mask, boundary="periodic").specific_surface)
            coarse.append(minkowski(mask[::2, ::2, ::2], boundary="periodic").specific_surface / 2)
        error = 4 * np.std(fine, ddof=1) / len(fine) ** 0.5
        # The digital error falls at least as much from step 1 to 0 as from step 2 to 1.
        digital = abs(np.mean(coarse) - np.mean(fine))
        assert np.mean(fine) == pytest.approx(expected[name]["specific_surface"], abs=error + digital)
        printed = np.mean(fine) * (63 / 64) ** 3 / 8
        assert abs(printed - table[name]["specific_surface"]) < 0.0005 + error / 8


def test_two_phase_volumes_have_the_euler_density_of_the_closed_form():
    volumes = [sofc_electrode((96, 112, 128), periodic=True, rng=seed).labels == 0 for seed in range(5)]
    found = [minkowski(v, boundary="periodic", connectivity=c).euler_density for v in volumes for c in (6, 26)]
    error = np.std(found[::2], ddof=1) / len(volumes) ** 0.5
    coarse = [minkowski(v[::2, ::2, ::2], boundary="periodic").euler_density / 8 for v in volumes]
    digital = abs(np.mean(coarse) - np.mean(found))
    expected = expected_sofc_phases("two-phase")["pore"].euler_density
    assert np.mean(found) == pytest.approx(expected, abs=4 * error + digital)
    assert 4 * error + digital < 0.25 * abs(expected)


def test_gdc_and_lscf_are_grains_whose_euler_density_is_small_against_that_of_the_pores():
    electrodes = [sofc_electrode((112,) * 3, preset="three-phase", periodic=True, rng=seed) for seed in range(5)]
    pore, gdc, lscf = (
        np.mean([minkowski(e.labels == k, boundary="periodic", connectivity=26).euler_density for e in electrodes])
        for k in range(3)
    )
    assert pore < -1e-4
    # An independent third field would give each about -1e-4.
    assert max(abs(gdc), abs(lscf)) < 0.25 * abs(pore)


@pytest.mark.parametrize("preset", PRESETS)
def test_surface_is_the_same_seen_along_each_axis(preset):
    crossings = []
    for seed in range(6):
        solid = sofc_electrode((80, 80, 80), preset=preset, rng=seed).labels > 0
        crossings.append([np.diff(solid, axis=axis).mean() for axis in range(3)])
    differences = np.array(crossings) - np.mean(crossings, axis=1, keepdims=True)
    error = differences.std(axis=0, ddof=1) / len(differences) ** 0.5
    assert (np.abs(differences.mean(axis=0)) < 6 * error).all()


# What every generator promises


@given(
    shape=st.tuples(*[st.integers(11, 40)] * 3),
    parts=st.lists(st.floats(0.05, 1.0), min_size=2, max_size=3),
    seed=st.integers(0, 2**32),
    periodic=st.booleans(),
)
@settings(deadline=None, max_examples=20)
def test_any_box_has_exactly_its_fractions(shape, parts, seed, periodic):
    fractions = tuple((np.array(parts) / sum(parts)).tolist())
    preset = PRESETS[len(parts) - 2]
    electrode = sofc_electrode(shape, preset=preset, fractions=fractions, periodic=periodic, rng=seed)
    counts = np.bincount(electrode.labels.ravel(), minlength=len(parts))
    assert electrode.labels.shape == shape
    assert electrode.labels.dtype == np.uint8
    assert len(counts) == len(parts) == len(electrode.phases)
    assert (np.abs(counts - np.array(fractions) * counts.sum()) < 1).all()
    assert electrode.truth["fractions"] == pytest.approx(counts / counts.sum(), abs=1e-12)
    assert "target" not in electrode.truth


@pytest.mark.parametrize("preset", PRESETS)
def test_defaults_suit_a_small_volume_and_tell_the_mismatch(preset):
    electrode = sofc_electrode((24, 32, 40), preset=preset, rng=0)
    json.dumps(dict(electrode.truth) | dict(electrode.recipe))
    target = sofc_targets(preset)
    for (name, phase), row in zip(target.items(), PRINTED[preset], strict=True):
        assert electrode.truth["target"][name] == phase
        assert tuple(electrode.truth["printed"][name].values()) == row
        for key in KEYS:
            mismatch = (electrode.truth["expected"][name][key] - phase[key]) / abs(phase[key])
            assert electrode.truth["mismatch"][name][key] == pytest.approx(mismatch)


@pytest.mark.parametrize("preset", PRESETS)
def test_seed_decides_every_byte_and_the_recipe_makes_it_again(preset):
    def make(rng, **options):
        return sofc_electrode((20, 31, 26), preset=preset, rng=rng, **options)

    first = make(5, scale=0.5, periodic=True)
    recipe = dict(first.recipe)
    assert recipe.pop("generator") == "sofc_electrode"
    assert sofc_electrode(**recipe, rng=5).labels.tobytes() == first.labels.tobytes()
    assert make(np.random.default_rng(5)).labels.tobytes() == make(5).labels.tobytes()
    assert len({make(seed).labels.tobytes() for seed in range(5)}) == 5


def test_numbers_of_numpy_are_plain_in_the_recipe():
    made = sofc_electrode((20, 20, 20), scale=np.float32(0.7), length_vox=np.int64(5), rng=0)
    recipe = json.loads(json.dumps(made.recipe))
    recipe.pop("generator")
    assert sofc_electrode(**recipe, rng=0).labels.tobytes() == made.labels.tobytes()


def test_periodic_faces_fit_together():
    def jump(periodic):
        labels = sofc_electrode((40, 48, 56), preset="three-phase", periodic=periodic, rng=2).labels
        inside = np.mean(labels[1:] != labels[:-1])
        return np.mean(labels[0] != labels[-1]) / inside

    assert jump(True) < 2 < jump(False)


def test_gdc_lies_where_the_first_field_is_far_from_the_centre(monkeypatch):
    # The package may hold the function by the module's name.
    module = importlib.import_module("synth.materials.sofc_electrode")
    grid = np.linspace(-3, 3, 60, dtype=np.float32)
    made = iter([np.broadcast_to(grid[:, None, None], (60, 60, 12)), np.broadcast_to(grid[:, None], (60, 60, 12))])
    monkeypatch.setattr(module, "gaussian_field", lambda *args, **options: next(made).copy())
    labels = sofc_electrode((60, 60, 12), preset="three-phase", rng=0).labels[:, :, 0]
    nearest = np.abs(grid[:, None] - np.array(CENTRE)).argmin(axis=0)
    assert labels[tuple(nearest)] == 0
    assert (labels[[0, -1], nearest[1]] == 1).all()
    assert (labels[nearest[0], [0, -1]] == 2).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shape": (0, 8, 8)}, "three positive whole numbers"),
        ({"preset": "four-phase"}, "preset is 'four-phase'"),
        ({"fractions": (0.5, 0.6)}, "add up to 1.1"),
        ({"fractions": (0.3, 0.3, 0.4)}, "one for each of pore, LSCF"),
        ({"preset": "three-phase", "fractions": (0.5, 0.5)}, "one for each of pore, GDC, LSCF"),
        ({"fractions": (0.99999, 0.00001)}, "0.0001 or more"),
        ({"fractions": (1.0, 0.0)}, "above 0 and below 1"),
        ({"length_vox": 0}, "length_vox is 0"),
        ({"length_vox": float("nan")}, "length_vox is nan"),
        ({"length_vox": "long"}, "length_vox is 'long'"),
        ({"scale": -1.0}, "scale is -1.0"),
        ({"scale": float("inf")}, "scale is inf"),
        ({"scale": 10.0}, "give a larger shape"),
        ({"scale": 1e300}, "scale is 1e\\+300"),
        ({"scale": 1e-300}, "scale is 1e-300"),
        ({"scale": None}, "scale is None"),
        ({"preset": ["two-phase"]}, "give one of"),
        ({"length_vox": 100.0}, "give a larger shape"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        sofc_electrode(**{"shape": (32, 40, 48), "rng": 0, **options})
