"""Layers of known place, thickness and intrusion, whichever way they lie, and what has no meaning without an MPL."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import synth
import volume
from evaluate import porosity_profile
from evaluate.layers import layer_report
from evaluate.morphology.interfaces import interface_areas
from evaluate.morphology.pore_sizes import pore_size_distribution

PORE, FIBRE, MPL = range(3)


def coated(top, depth=40, plan=None):
    """MPL below a height, given at each column; straight fibres from slice 12 on."""
    labels = np.zeros((depth, *np.shape(top)), np.uint8)
    labels[12:depth:6, :, ::8] = FIBRE
    below = (np.arange(depth) + 0.5)[:, None, None] < np.asarray(top)
    labels[below & (labels == PORE)] = MPL
    return labels


def report(labels, **options):
    return layer_report(labels, pore_sizes=False, **options)


@pytest.fixture(scope="module")
def made():
    return synth.gdl_with_mpl((48, 128, 144), rng=5)


@pytest.fixture(scope="module")
def found(made):
    return layer_report(made, levelling_degree=0)


def test_layers_of_a_synthetic_medium_lie_where_they_were_made(made, found):
    assert (found.mpl.start, found.mpl.stop) == (0, made.truth["substrate_plane"])
    assert (found.gdl.start, found.gdl.stop) == (made.truth["substrate_plane"], 48)
    assert 1 - found.gdl.fibre_fraction == pytest.approx(made.truth["substrate_porosity"])
    assert found.side == "low"
    assert found.unit == "voxel"
    assert found.undefined == {}


def test_profile_is_the_porosity_profile_and_adds_up(made, found):
    np.testing.assert_allclose(found.profile["pore"], porosity_profile(made))
    np.testing.assert_allclose(sum(found.profile[name] for name in ("pore", "fibre", "mpl")), 1)
    np.testing.assert_allclose(found.profile["position"], np.arange(48) + 0.5)
    # Slices of the MPL below its rough top are as porous as the plan is cracked.
    np.testing.assert_allclose(found.profile["pore"][:5], made.truth["crack_area_fraction"], atol=1e-12)


def test_thickness_of_a_synthetic_layer_is_what_was_made(made, found):
    truth = made.truth["thickness_map"]
    # A piece that a fibre cuts off is no part of the layer.
    assert np.count_nonzero(found.mpl_thickness.map != truth) <= found.stray_volume
    assert found.stray_volume < 10
    assert found.mpl_thickness.mean == pytest.approx(made.truth["thickness"]["mean"], rel=1e-3)
    assert found.mpl_thickness.standard_deviation == pytest.approx(made.truth["thickness"]["std"], rel=1e-2)
    assert found.mpl_thickness.coverage == pytest.approx(np.mean(truth > 0))


def test_intrusion_of_a_synthetic_layer_is_what_was_made(made, found):
    truth = made.truth["intrusion_map"]
    assert np.count_nonzero(found.intrusion.depth != truth) <= found.stray_volume
    assert found.intrusion.mean == pytest.approx(made.truth["intrusion"]["mean"], rel=1e-2)
    assert found.intrusion.largest == pytest.approx(made.truth["intrusion"]["max"], abs=1)
    beyond = np.count_nonzero(np.asarray(made)[made.truth["substrate_plane"] :] == MPL) - found.stray_volume
    assert found.intrusion.volume == beyond
    assert found.intrusion.share_of_substrate == pytest.approx(beyond / (38 * 128 * 144))


def test_levelling_costs_a_level_layer_little(made, found):
    levelled = report(made)
    assert levelled.mpl.stop == pytest.approx(found.mpl.stop, abs=0.1)
    assert np.abs(levelled.intrusion.depth - found.intrusion.depth).max() < 0.2


def test_pore_sizes_are_those_of_each_layer(made, found):
    labels = np.asarray(made)
    for layer in (found.mpl, found.gdl):
        own = pore_size_distribution(labels[layer.first_slice : layer.stop_slice] == PORE)
        assert layer.pore_sizes.mean == own.mean
        assert layer.porosity == np.mean(labels[layer.first_slice : layer.stop_slice] == PORE)
    assert found.mpl.pore_sizes.unit == "voxel"


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_report_does_not_depend_on_how_the_volume_lies(made, found, axis, flip):
    labels = np.asarray(made)[::-1] if flip else np.asarray(made)
    turned = report(np.moveaxis(labels, 0, axis), axis=axis, levelling_degree=0)
    assert turned.side == ("high" if flip else "low")
    np.testing.assert_array_equal(turned.cracks.ids, found.cracks.ids)
    np.testing.assert_array_equal(turned.mpl_thickness.map, found.mpl_thickness.map)
    np.testing.assert_array_equal(turned.total_thickness.map, found.total_thickness.map)
    np.testing.assert_array_equal(turned.intrusion.depth, found.intrusion.depth)
    assert turned.intrusion.c_ra == pytest.approx(found.intrusion.c_ra)
    assert dataclasses.astuple(turned.interfaces) == pytest.approx(dataclasses.astuple(found.interfaces))
    place = [(layer.start, layer.stop, layer.first_slice, layer.stop_slice) for layer in (turned.mpl, turned.gdl)]
    assert place == ([(38, 48, 38, 48), (0, 38, 0, 38)] if flip else [(0, 10, 0, 10), (10, 48, 10, 48)])
    valid = turned.intrusion.valid
    np.testing.assert_allclose(
        turned.intrusion.height[valid], (48 - found.intrusion.height if flip else found.intrusion.height)[valid]
    )
    np.testing.assert_allclose(turned.profile["mpl"], found.profile["mpl"][::-1] if flip else found.profile["mpl"])


def test_lengths_are_in_micrometres_along_the_axis(made, found):
    voxel = (2.0, 0.5, 0.75)
    physical = report(made, voxel_size_um=voxel, levelling_degree=0)
    assert physical.unit == "um"
    assert (physical.mpl.thickness, physical.gdl.stop) == (20, 96)
    assert physical.mpl_thickness.mean == pytest.approx(2 * found.mpl_thickness.mean)
    assert physical.intrusion.mean == pytest.approx(2 * found.intrusion.mean)
    assert physical.intrusion.volume == pytest.approx(0.75 * found.intrusion.volume)
    assert physical.cracks.area == pytest.approx(0.375 * found.cracks.area)
    assert physical.intrusion.roughness.sa == pytest.approx(2 * found.intrusion.roughness.sa)
    expected = interface_areas(made, voxel_size_um=voxel).areas
    assert physical.interfaces.mpl_fibre + physical.interfaces.mpl_pore == pytest.approx(
        expected[2, :2].sum(), rel=1e-3
    )
    named = volume.Volume(np.asarray(made), voxel_size_um=voxel, phases=("pore", "fibre", "MPL"))
    assert report(named, mpl="MPL", levelling_degree=0).intrusion.mean == physical.intrusion.mean


def test_interfaces_are_those_between_the_labels(made, found):
    areas = interface_areas(made).areas
    interfaces = found.interfaces
    # Strays, a few voxels, are left out.
    assert interfaces.mpl_fibre == pytest.approx(areas[MPL, FIBRE], rel=1e-3)
    assert interfaces.mpl_pore == pytest.approx(areas[MPL, PORE], rel=1e-3)
    assert interfaces.fibre_pore == pytest.approx(areas[FIBRE, PORE])
    assert interfaces.mpl_pore == pytest.approx(interfaces.mpl_open + interfaces.mpl_substrate - interfaces.mpl_fibre)


def test_face_of_a_flat_layer_and_walls_of_its_cracks_have_their_areas():
    labels = coated(np.full((64, 64), 10.0))
    labels[:10, 20:44, 20:40] = PORE
    interfaces = report(labels).interfaces
    # Crofton: planes along the faces of voxels come out 3.7 % low; lines that run over the edges add a little.
    assert interfaces.mpl_substrate == pytest.approx((64**2 - 24 * 20) * 0.963, rel=0.04)
    assert interfaces.mpl_open == pytest.approx(2 * (24 + 20) * 10 * 0.963, rel=0.06)
    assert interfaces.mpl_fibre == 0


def test_flat_layer_does_not_intrude():
    found = report(coated(np.full((40, 48), 10.0)))
    assert (found.mpl.start, found.mpl.stop) == pytest.approx((0, 10))
    assert found.intrusion.largest == pytest.approx(0, abs=1e-4)
    assert found.intrusion.volume == 0
    assert found.intrusion.roughness.sq < 1e-6
    assert found.intrusion.c_ra is None
    assert found.mpl_thickness.standard_deviation == 0


def test_block_that_intrudes_has_its_depth_and_volume():
    top = np.full((60, 60), 10.0)
    top[20:30, 10:25] = 19
    found = report(coated(top), voxel_size_um=(2, 1, 1))
    labels = coated(top)
    assert found.intrusion.largest == pytest.approx(18, abs=0.02)
    assert found.intrusion.volume == 2 * np.count_nonzero(labels[10:] == MPL)
    assert found.intrusion.area_fraction == pytest.approx(150 / 3600)
    # Fibres that the MPL surrounds are not MPL, and the depth is taken behind them.
    assert np.count_nonzero(labels[10:19, 20:30, 10:25] == FIBRE) > 0


def test_hemisphere_that_intrudes_has_its_volume():
    a, b = np.indices((64, 64)) - 31.5
    top = 10 + np.sqrt(np.maximum(14.0**2 - a**2 - b**2, 0))
    labels = np.zeros((40, 64, 64), np.uint8)
    labels[(np.arange(40) + 0.5)[:, None, None] < top] = MPL
    labels[34:36, :, ::6] = FIBRE
    found = report(labels)
    assert found.intrusion.volume == pytest.approx(2 / 3 * np.pi * 14**3, rel=0.01)
    assert found.intrusion.largest == pytest.approx(14, abs=0.6)


def test_tilted_layer_does_not_intrude():
    a, b = np.indices((80, 80))
    tilt = 0.1 * a + 0.05 * b
    labels = np.zeros((50, 80, 80), np.uint8)
    z = (np.arange(50) + 0.5)[:, None, None]
    labels[(z > 3 + tilt) & (z < 13 + tilt)] = MPL
    labels[34:50:4, :, ::6] = FIBRE
    found = report(labels)
    # Voxels are half a voxel off the plane at most, and the plane is fitted to them.
    assert found.intrusion.largest < 0.6
    assert found.mpl.thickness == pytest.approx(10, abs=0.1)
    assert np.abs(found.mpl_thickness.map - 10).max() <= 1
    assert found.cracks.n_cracks == 0
    assert report(labels, levelling_degree=0).intrusion.largest > 5


def test_curved_layer_has_its_thickness_and_no_cracks():
    a, b = np.indices((80, 80)) / 40 - 1
    bend = 12 * (1 - (a**2 + b**2) / 2)
    labels = np.zeros((40, 80, 80), np.uint8)
    z = (np.arange(40) + 0.5)[:, None, None]
    labels[(z > bend) & (z < bend + 6)] = MPL
    labels[30:40:4, :, ::6] = FIBRE
    labels[:, 30:34, 20:50] = np.where(labels[:, 30:34, 20:50] == MPL, PORE, labels[:, 30:34, 20:50])
    for degree in (0, 1, 2):
        found = report(labels, levelling_degree=degree)
        assert found.cracks.n_cracks == 1
        assert found.cracks.table["pixels"][0] == 120
        assert found.mpl_thickness.mean == pytest.approx(6, abs=0.05)
        assert found.mpl_thickness.largest <= 7
    assert found.intrusion.largest < 0.7
    assert found.mpl.thickness == pytest.approx(6, abs=0.1)


def test_strays_move_neither_the_layer_nor_its_intrusion():
    clean = coated(np.full((60, 60), 10.0), depth=60)
    noisy = clean.copy()
    rng = np.random.default_rng(0)
    noise = rng.random(noisy.shape) < 0.01
    noise[:12] = False
    noisy[noise & (noisy == PORE)] = MPL
    found = report(noisy)
    assert found.mpl.stop == pytest.approx(10, abs=0.01)
    assert found.stray_volume == np.count_nonzero(noisy == MPL) - np.count_nonzero(clean == MPL)
    assert found.intrusion.volume == 0
    np.testing.assert_array_equal(found.mpl_thickness.map, 10)


def test_substrate_ends_with_its_fibres():
    labels = coated(np.full((48, 48), 10.0), depth=60)
    labels[40:] = PORE
    labels[55, 3, 3] = FIBRE
    found = report(labels)
    assert found.gdl.stop == 37
    assert found.total_thickness.largest == 56


def test_free_side_may_be_named():
    # Fibres on both sides: the default takes the side with fewer before it.
    labels = np.zeros((30, 20, 20), np.uint8)
    labels[10:14] = MPL
    labels[16::3, :, ::4] = FIBRE
    labels[2:9:3, :, ::5] = FIBRE
    assert report(labels).side == "low"
    found = report(labels, side="high")
    assert found.side == "high"
    assert (found.gdl.start, found.gdl.stop) == (2, 10)


@pytest.mark.parametrize("kind", ["bare", "catalyst", "none named"])
def test_without_mpl_what_has_no_meaning_is_none_with_a_reason(kind):
    labels = {
        "bare": lambda: coated(np.zeros((24, 24))),
        "catalyst": lambda: synth.catalyst_layer((32, 48, 48), rng=0),
        "none named": lambda: coated(np.zeros((24, 24))),
    }[kind]()
    found = layer_report(labels, mpl=None if kind == "none named" else 2)
    empty = ("mpl", "mpl_thickness", "cracks", "intrusion", "free_surface", "interfaces")
    assert all(getattr(found, name) is None for name in empty)
    assert set(found.undefined) == set(empty)
    reason = (
        "no microporous layer was named" if kind == "none named" else "the microporous layer, label 2, does not occur"
    )
    assert set(found.undefined.values()) == {reason}
    assert found.side is None
    assert found.gdl.pore_sizes.mean > 1
    np.testing.assert_allclose(found.profile["pore"], porosity_profile(labels))


def test_bare_substrate_lies_from_its_first_fibres_to_its_last():
    found = report(coated(np.zeros((24, 24))))
    assert (found.gdl.start, found.gdl.stop) == (12, 37)
    assert found.total_thickness.coverage == pytest.approx(1 / 8)
    assert found.total_thickness.mean == 25


def test_catalyst_layer_with_ionomer_takes_both_solids_as_fibre():
    made = synth.catalyst_layer((32, 48, 48), rng=0, ionomer_fraction=0.1)
    with pytest.raises(ValueError, match="mpl is label 2, which labels call 'ionomer'; give mpl='ionomer' if it is"):
        report(made)
    found = report(made, fibre=("carbon", "ionomer"), mpl=None)
    assert found.gdl.porosity == pytest.approx(made.truth["porosity"])


def test_mpl_alone_has_no_substrate():
    labels = np.full((8, 12, 12), MPL, np.uint8)
    found = layer_report(labels)
    assert found.gdl is None
    assert found.undefined == {"gdl": "no fibre lies beyond the microporous layer"}
    assert found.mpl.thickness == 8
    # There is no pore to have a size.
    assert found.mpl.pore_sizes is None
    assert found.intrusion.share_of_substrate == 0


def test_only_pores_have_no_layer():
    found = layer_report(np.zeros((6, 7, 8), np.uint8))
    assert found.undefined["gdl"] == "no fibre occurs"
    assert found.undefined["total_thickness"] == "nothing solid occurs"
    assert (found.profile["pore"] == 1).all()


def test_labels_in_any_order_and_as_names(made, found):
    swapped = np.array([7, 0, 3], np.uint8)[np.asarray(made)]
    other = report(swapped, pore=7, fibre=0, mpl=3, levelling_degree=0)
    np.testing.assert_array_equal(other.cracks.ids, found.cracks.ids)
    named = report(made, pore="pore", fibre="fibre", mpl="MPL", levelling_degree=0)
    assert named.intrusion.volume == found.intrusion.volume


def test_report_does_not_change_its_input(made):
    labels = np.asarray(made).copy()
    report(labels)
    np.testing.assert_array_equal(labels, np.asarray(made))


def numbers_in(part):
    """All numbers of a report, however deep they lie."""
    if dataclasses.is_dataclass(part):
        return [n for field in dataclasses.fields(part) for n in numbers_in(getattr(part, field.name))]
    if isinstance(part, dict):
        return [n for value in part.values() for n in numbers_in(value)]
    if part is None or isinstance(part, str):
        return []
    return np.ravel(part).tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(2, 9), st.integers(2, 9), st.integers(2, 9)),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
    st.integers(0, 10_000),
    st.integers(0, 3),
)
def test_any_labels_give_finite_numbers_or_a_reason(shape, shares, seed, degree):
    # Noise, which is no layer at all; every label may be missing.
    draws = np.random.default_rng(seed).random(shape)
    labels = (draws > shares[0]).astype(np.uint8) + (draws > max(shares))
    found = layer_report(labels, levelling_degree=degree, patch=2)
    assert np.isfinite(numbers_in(found)).all()
    for field in dataclasses.fields(found):
        is_none = getattr(found, field.name) is None
        assert is_none == (field.name in found.undefined or (field.name == "side" and found.mpl is None))
    if found.mpl_thickness is not None:
        kept = found.mpl_thickness.map.sum() + found.stray_volume
        assert kept == np.count_nonzero(labels == MPL)


def test_one_voxel_of_mpl_is_a_layer_of_one_column():
    labels = coated(np.zeros((12, 12)))
    labels[3, 5, 6] = MPL
    found = layer_report(labels)
    assert (found.mpl.start, found.mpl.stop) == pytest.approx((3, 4))
    assert found.mpl_thickness.coverage == pytest.approx(1 / 144)
    # All the rest of the plan lacks it.
    assert found.cracks.area_fraction == pytest.approx(143 / 144)


GOOD = coated(np.full((12, 12), 10.0), depth=20)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (GOOD[0], {}, "labels has shape .12, 12.; an array of 3-D is accepted"),
        (GOOD[:1], {}, "labels has shape .1, 12, 12.; layers need at least two voxels along each axis"),
        (GOOD[:, :1], {}, "layers need at least two voxels along each axis"),
        (GOOD + 0.5, {}, "labels holds fractional or NaN values"),
        (np.full((3, 3, 3), np.nan), {}, "labels holds fractional or NaN values"),
        (GOOD.astype(int) + 300, {}, "labels go from 0 to 255"),
        (GOOD, {"mpl": 1}, "fibre and mpl are both label 1; each phase has a label of its own"),
        (GOOD, {"fibre": (1, 0)}, "pore and fibre are both label 0"),
        (
            GOOD,
            {"mpl": None},
            "labels holds 2, which is no phase of the layers .pore 0, fibre 1, mpl none.; fibre takes",
        ),
        (np.where(GOOD == 1, 5, GOOD), {}, "labels holds 5, which is no phase of the layers"),
        (GOOD, {"mpl": "MPL"}, "mpl is 'MPL', but the phases named in labels are: none"),
        (GOOD, {"pore": None}, "pore is None; give the label of the pores"),
        (GOOD, {"fibre": 1.5}, "fibre is 1.5; it must be a whole number"),
        (GOOD, {"mpl": 256}, "mpl is 256; it must be from 0 to 255"),
        (GOOD, {"axis": 3}, "axis is 3; it must be from 0 to 2"),
        (GOOD, {"side": "top"}, "side is 'top'; it must be one of 'low', 'high'"),
        (GOOD, {"voxel_size_um": (1, 1)}, "give three numbers .z, y, x. in µm"),
        (GOOD, {"voxel_size_um": (1, 1, 200)}, "more than 100 : 1 apart"),
        (GOOD, {"crack_openness": 0}, "crack_openness is 0; give a number above 0, up to 1"),
        (GOOD, {"crack_openness": np.nan}, "crack_openness is nan"),
        (GOOD, {"crack_openness": "half"}, "crack_openness is 'half'; give a number above 0"),
        (GOOD, {"minimum_crack_pixels": 0}, "minimum_crack_pixels is 0; it must be at least 1"),
        (GOOD, {"levelling_degree": 7}, "levelling_degree is 7; it must be from 0 to 6"),
        (GOOD, {"patch": -2}, "patch is -2; give a length above 0"),
        (GOOD, {"patch": 13}, "patch is 13, larger than the plan of 12 by 12"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(labels, options, message):
    with pytest.raises(ValueError, match=message):
        layer_report(labels, **options)


def test_phases_that_are_not_named_so_are_refused():
    named = volume.Volume(GOOD, phases=("pore", "fibre", "water"))
    with pytest.raises(ValueError, match="mpl is label 2, which labels call 'water'"):
        layer_report(named)
    with pytest.raises(ValueError, match="mpl is 'MPL', but the phases named in labels are: 'pore', 'fibre', 'water'"):
        layer_report(named, mpl="MPL")
