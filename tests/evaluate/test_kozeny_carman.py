"""Kozeny-Carman against the flow through tubes and slits, and the forms against each other."""

import numpy as np
import pytest

from evaluate import minkowski
from evaluate.transport import kozeny_carman, kozeny_carman_of, tortuosity


def test_round_tubes_with_constant_two_give_hagen_poiseuille():
    """K = ε r²/8; the tubes' surface is 2ε/r."""
    porosity, radius = 0.3, 4.0
    found = kozeny_carman(porosity, 2 * porosity / radius, 1.0, constant=2)
    assert found.permeability == pytest.approx(porosity * radius**2 / 8, rel=1e-12)
    assert (found.form, found.unit) == ("tortuosity", "um")


def test_slits_with_constant_three_give_plane_poiseuille():
    """K = ε w²/12; the slits' surface is 2ε/w."""
    porosity, width = 0.4, 5.0
    found = kozeny_carman(porosity, 2 * porosity / width, 1.0, constant=3)
    assert found.permeability == pytest.approx(porosity * width**2 / 12, rel=1e-12)


def test_inclined_tubes_lose_the_tortuosity_factor_once():
    """Tubes at 45°: τ_geometric² = 2 = τ, and the pressure gradient and the velocity along z lose cos 45° each."""
    straight, inclined = (kozeny_carman(0.3, 0.5, tau, constant=2).permeability for tau in (1.0, 2.0))
    assert inclined == pytest.approx(straight / 2)


def test_packed_spheres_give_carmans_formula():
    """K = d² ε³ / (180 (1 - ε)²), from S = 6 (1 - ε) / d."""
    porosity, diameter = 0.38, 10.0
    found = kozeny_carman(porosity, 6 * (1 - porosity) / diameter)
    assert found.form == "carman"
    assert found.permeability == pytest.approx(diameter**2 * porosity**3 / (180 * (1 - porosity) ** 2), rel=1e-12)


def test_paper_form_squares_the_tortuosity():
    porosity, surface, tau = 0.7, 0.2, 1.6
    found = kozeny_carman(porosity, surface, tau, form="utile_pore")
    of_solid = surface / (1 - porosity)
    expected = porosity**3 / (4.5 * tau**2 * (1 - porosity) ** 2 * of_solid**2)
    assert found.permeability == pytest.approx(expected, rel=1e-12)
    assert found.permeability < kozeny_carman(porosity, surface, tau).permeability


def test_default_constant_with_tortuosity_agrees_with_carman_at_his_tortuosity():
    """Carman's 5 is 2.5 × 2, the square of his √2."""
    assert kozeny_carman(0.4, 0.3, 2.0).permeability == pytest.approx(kozeny_carman(0.4, 0.3).permeability)


def test_slits_in_a_volume_are_measured_in_physical_units():
    """The surface of slabs along the lattice is overestimated by up to 10 %, which lowers K by up to 20 %."""
    mask = np.broadcast_to((np.arange(48) + 4) % 16 < 8, (24, 24, 48))
    voxel = (0.5, 0.5, 0.5)
    found = kozeny_carman_of(mask, axis=0, voxel_size_um=voxel, constant=3)
    assert found.unit == "um"
    assert found.tortuosity == pytest.approx(1, abs=1e-9)
    assert found.permeability == pytest.approx(0.5 * 4.0**2 / 12, rel=0.2)
    in_voxels = kozeny_carman_of(mask, axis=0, constant=3)
    assert in_voxels.unit == "voxel"
    assert found.permeability == pytest.approx(in_voxels.permeability * 0.25, rel=1e-9)


def test_volume_gives_what_its_numbers_give():
    mask = np.random.default_rng(0).random((16, 16, 16)) < 0.6
    measured = minkowski(mask)
    for form in ("tortuosity", "utile_pore", "carman"):
        tau = None if form == "carman" else tortuosity(mask, axis=1).tortuosity
        expected = kozeny_carman(measured.volume_fraction, measured.specific_surface, tau, form=form, unit="voxel")
        assert kozeny_carman_of(mask, axis=1, form=form) == expected


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        ((0.0, 1.0), {}, "porosity is 0.0; it must be above 0 and at most 1"),
        ((1.2, 1.0), {}, "porosity is 1.2"),
        ((0.5, 0.0), {}, "specific_surface is 0.0; it must be above 0"),
        ((0.5, np.inf), {}, "specific_surface is inf"),
        (("half", 1.0), {}, "porosity is 'half'"),
        ((0.5, 1.0, 0.9), {}, "tortuosity is 0.9; it must be at least 1"),
        ((0.5, 1.0, np.nan), {}, "tortuosity is nan"),
        ((0.5, 1.0), {"form": "tortuosity"}, "needs a tortuosity"),
        ((0.5, 1.0), {"form": "utile_pore"}, "needs a tortuosity"),
        ((0.5, 1.0, 2.0), {"form": "carman"}, "takes no tortuosity"),
        ((0.5, 1.0), {"form": "kozeny"}, "form is 'kozeny'"),
        ((0.5, 1.0), {"form": ["carman"]}, "form is ..carman"),
        ((0.5, 1.0), {"constant": -1}, "constant is -1.0"),
        ((0.5, 1.0), {"unit": "mm"}, "unit is 'mm'"),
    ],
)
def test_bad_numbers_are_refused_with_a_sentence(arguments, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        kozeny_carman(*arguments, **options)


def test_open_space_is_refused():
    with pytest.raises(ValueError, match="without a surface"):
        kozeny_carman_of(np.ones((4, 4, 4), bool), axis=0)
