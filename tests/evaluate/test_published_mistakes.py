"""Mistakes of published tools, each with a volume whose right answer is known."""

import numpy as np
import pytest

import evaluate
from poreforge.views.coarsening import coarsen_labels
from volume import Volume


def ball(shape=(40, 40, 40), radius=15.0):
    z, y, x = np.indices(shape)
    return sum((axis - (n - 1) / 2) ** 2 for axis, n in zip((z, y, x), shape, strict=True)) <= radius**2


def test_mask_is_not_inverted_twice():
    # A ball of solid (label 1) in pore (label 0): the solid is the object, the pores are what porosity counts.
    labels = ball().astype(np.uint8)
    assert evaluate.porosity(labels) == pytest.approx(1 - labels.mean())
    assert evaluate.reconstruct(labels, "voxel").volume == pytest.approx(labels.sum())
    assert evaluate.reconstruct(labels, "voxel", phase=0).volume == pytest.approx(labels.size - labels.sum())


@pytest.mark.parametrize("edge", [0.01, 2.0])
def test_units_are_not_dropped(edge):
    mask, size = ball(), (edge, edge, edge)
    assert evaluate.minkowski(mask).surface * edge**2 == pytest.approx(
        evaluate.minkowski(mask, voxel_size_um=size).surface
    )
    sizes, in_um = (evaluate.pore_size_distribution(mask, voxel_size_um=given) for given in (None, size))
    assert in_um.d50 == pytest.approx(sizes.d50 * edge)
    assert (sizes.unit, in_um.unit) == ("voxel", "um")
    flow = evaluate.kozeny_carman(0.5, evaluate.minkowski(mask, voxel_size_um=size).specific_surface)
    plain = evaluate.kozeny_carman(0.5, evaluate.minkowski(mask).specific_surface, unit="voxel")
    assert flow.permeability == pytest.approx(plain.permeability * edge**2)


def layer(*, with_crack=False):
    """An MPL of 10 slices on fibres that run through it along y."""
    labels = np.zeros((40, 60, 60), np.uint8)
    labels[:10] = 2
    if with_crack:
        labels[:10, 10:16, 5:45] = 0
        labels[:10, 40:44, 5:25] = 0
    labels[2:38:6, :, 4:60:12] = 1
    return labels


def test_fibres_are_not_cracks():
    assert evaluate.layer_report(layer(), pore_sizes=False).cracks.n_cracks == 0


def test_areas_of_cracks_are_each_multiplied_by_the_area_of_a_voxel():
    labels = layer(with_crack=True)
    report = evaluate.layer_report(Volume(labels, (1.0, 0.5, 2.0)), pore_sizes=False)
    # A list times a number would repeat the list, or fail; the areas are 6 × 40 and 4 × 20 columns of 1 µm².
    assert report.cracks.table["area"].tolist() == pytest.approx([240.0, 80.0])
    assert report.cracks.n_cracks == 2


def test_labels_are_not_smoothed_when_they_are_resized():
    # Halfway between 0 and 2 lies 1, another phase: a filter would invent it at every border.
    labels = np.zeros((16, 16, 16), np.uint8)
    labels[:, 7:] = 2
    assert set(np.unique(coarsen_labels(labels, (8, 8, 8)))) == {0, 2}


def test_local_roughness_is_that_of_places_not_of_vertices_in_index_order():
    # One half of the surface has steps of ± 2 voxels, the other none. Half of the patches have Ra = 2, half have 0:
    # their mean is 1 and their standard deviation 1. Any mixture of places would make all patches alike.
    heights = np.full((64, 64), 10)
    heights[:, :32] += np.where(np.indices((64, 32)).sum(axis=0) % 2, 2, -2)
    mask = np.arange(20)[:, None, None] >= heights
    found = evaluate.surface_roughness(mask, levelling_degree=0, patch=8)
    assert found.c_ra == pytest.approx(1.0)


def test_bubble_blocks_what_it_touches_not_what_its_centre_is_near_to():
    cell = np.zeros((60, 48, 48), np.uint8)
    cell[:3] = 2
    z, y, x = np.indices(cell.shape)
    far_centre = (z - 22) ** 2 + (y - 24) ** 2 + (x - 24) ** 2 <= 20**2
    near_centre = (z - 8) ** 2 + (y - 5) ** 2 + (x - 5) ** 2 <= 3**2
    cell[(cell == 0) & (far_centre | near_centre)] = 1
    found = evaluate.bubble_report(cell)
    large, small = np.argmax(found.bubbles["volume"]), np.argmin(found.bubbles["volume"])
    assert found.bubbles["centroid_z"][large] > found.bubbles["centroid_z"][small]
    assert found.bubbles["contact_area"][large] == np.count_nonzero(cell[3] == 1)
    assert found.bubbles["contact_area"][small] == 0


def test_mesh_of_a_mask_lies_between_its_voxels_not_at_level_0():
    # At level 0 the surface would lie a voxel further out: a ball of radius 16 instead of 15, a fifth larger.
    mask = ball()
    assert evaluate.reconstruct(mask, "marching_cubes").volume == pytest.approx(mask.sum(), rel=0.01)


def test_tortuosity_in_the_permeability_is_that_of_the_volume():
    # Two slits of the same width: one straight, one that goes round a corner twice.
    straight, bent = np.zeros((2, 30, 8, 40), bool)
    straight[:, :, 10:14] = True
    bent[:15, :, 10:14] = bent[15:, :, 26:30] = True
    bent[13:17, :, 10:30] = True
    known = [evaluate.tortuosity(mask, axis=0) for mask in (straight, bent)]
    flows = [evaluate.kozeny_carman_of(mask, axis=0) for mask in (straight, bent)]
    assert known[0].tortuosity == pytest.approx(1)
    assert known[1].tortuosity > 1.5
    for solved, flow in zip(known, flows, strict=True):
        by_hand = solved.porosity**3 / (flow.constant * solved.tortuosity * flow.specific_surface**2)
        assert flow.permeability == pytest.approx(by_hand)


def test_constant_of_five_holds_the_tortuosity_already():
    # Round tubes of radius r: K = ε r² / 8 exactly, with S = 2 ε / r and τ = 1.
    porosity, radius = 0.3, 4.0
    surface, truth = 2 * porosity / radius, porosity * radius**2 / 8
    exact = evaluate.kozeny_carman(porosity, surface, 1.0, form="tortuosity", constant=2.0)
    assert exact.permeability == pytest.approx(truth)
    published = evaluate.kozeny_carman(porosity, surface, 1.0, form="utile_pore")
    assert published.permeability < 0.5 * truth


def test_quantimpys_functionals_are_multiples():
    quantimpy = pytest.importorskip("quantimpy.minkowski")
    mask = ball()
    volume, surface, _, euler = quantimpy.functionals(mask)
    ours = evaluate.minkowski(mask, boundary="closed")
    assert ours.volume == volume
    assert ours.surface == pytest.approx(8 * surface, rel=1e-6)
    assert ours.euler_number == pytest.approx(euler * 4 * np.pi / 3, abs=1e-6)
