import math

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch.nn import functional

from segment.losses import (
    IGNORED,
    LOSSES,
    Boundary,
    CrossEntropy,
    CrossEntropyDice,
    Dice,
    Focal,
    FocalDice,
    border_distance,
    build_loss,
)

EACH = [
    CrossEntropy(),
    Dice(),
    CrossEntropyDice(0.7),
    Focal(),
    Focal(0.5, [0.2, 1, 0.5]),
    FocalDice(1, dice_weight=2),
    Boundary(),
    Boundary(2, 0.8, dice_weight=1),
]
SHAPES = [(2, 3, 5, 7), (2, 3, 3, 4, 5)]


def kind(criterion):
    return type(criterion).__name__


def random_case(shape, *, known=1.0, seed=0, dtype=torch.float32):
    """Return logits and labels, a share of them known, of a batch of this shape."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=dtype)
    labels = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) >= known] = IGNORED
    return logits, labels


# Cross-entropy and Dice


def test_loss_of_a_certain_and_right_prediction_is_nearly_zero():
    labels = torch.tensor([[[0, 1, 2, 1], [2, 2, 0, 0]]])
    logits = 50.0 * functional.one_hot(labels, 3).movedim(-1, 1).float()
    assert 0 <= CrossEntropyDice()(logits, labels).item() < 1e-6


def test_loss_of_an_undecided_prediction_equals_the_sum_by_hand():
    # Four pixels, three of phase 0; p = 1/2 everywhere. Cross-entropy is ln 2. Dice, smoothed by one pixel:
    # phase 0: (2 · 1.5 + 1) / (2 + 3 + 1) = 4/6; phase 1: (2 · 0.5 + 1) / (2 + 1 + 1) = 2/4.
    labels = torch.tensor([[[0, 0], [0, 1]]])
    expected = math.log(2) + 2.0 * (1 - (4 / 6 + 2 / 4) / 2)
    assert CrossEntropyDice(2.0)(torch.zeros(1, 2, 2, 2), labels).item() == pytest.approx(expected, rel=1e-6)


def test_dice_counts_over_the_whole_batch_and_not_image_by_image():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 4, 4, generator=generator)
    labels = torch.stack([torch.zeros(4, 4, dtype=torch.long), torch.ones(4, 4, dtype=torch.long)])
    side_by_side = torch.cat(list(logits), dim=-1)[None], torch.cat(list(labels), dim=-1)[None]
    assert CrossEntropyDice()(logits, labels).item() == pytest.approx(CrossEntropyDice()(*side_by_side).item())


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 3, 4, 4, 4)])
def test_weight_0_leaves_cross_entropy(shape):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(shape, generator=generator)
    labels = torch.randint(3, (shape[0], *shape[2:]), generator=generator)
    assert torch.equal(CrossEntropyDice(0)(logits, labels), functional.cross_entropy(logits, labels))


def test_gradient_is_finite_for_a_phase_that_is_absent_and_a_prediction_that_is_certain():
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 0] = 200.0
    logits.requires_grad_()
    loss = CrossEntropyDice()(logits, torch.ones(1, 4, 4, dtype=torch.long))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().sum() > 0


def test_loss_of_half_precision_logits_is_taken_in_single_precision():
    logits = torch.tensor([[[3.0]], [[0.5]]], dtype=torch.float16)[None]
    labels = torch.ones(1, 1, 1, dtype=torch.long)
    found = CrossEntropyDice()(logits, labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, CrossEntropyDice()(logits.float(), labels))


# By hand


def one_row(*probability_of_0):
    """Return logits (1, 2, 1, n) whose softmax gives phase 0 these probabilities."""
    p = torch.tensor([probability_of_0], dtype=torch.float64)
    return torch.stack([p.log(), (1 - p).log()])[None]


def test_focal_loss_equals_its_equation_by_hand():
    logits, labels = one_row(0.9, 0.5, 0.2), torch.tensor([[[0, 1, 0]]])
    # p_t is 0.9, 0.5 and 0.2, 1 - p_t squared 0.01, 0.25 and 0.64.
    terms = [-0.01 * math.log(0.9), -0.25 * math.log(0.5), -0.64 * math.log(0.2)]
    assert Focal(2)(logits, labels).item() == pytest.approx(sum(terms) / 3, rel=1e-12)
    weighted = 0.25 * terms[0] + 0.75 * terms[1] + 0.25 * terms[2]
    assert Focal(2, [0.25, 0.75])(logits, labels).item() == pytest.approx(weighted / 3, rel=1e-12)


def test_boundary_loss_equals_its_equation_by_hand():
    logits, labels = one_row(0.9, 0.5, 0.2, 0.3), torch.tensor([[[0, 0, 1, 1]]])
    # Distances to the other phase are 2, 1, 1, 2; to the border half a voxel less.
    far, near = (1 + 3 * math.exp(-(d**2) / (2 * 2.0**2)) for d in (1.5, 0.5))
    weights, p_t = (far, near, near, far), (0.9, 0.5, 0.8, 0.7)
    expected = sum(-w * math.log(p) for w, p in zip(weights, p_t, strict=True)) / sum(weights)
    assert Boundary(3, 2.0)(logits, labels).item() == pytest.approx(expected, rel=1e-6)


def test_dice_counts_only_what_is_known_by_hand():
    # Known are p = 0.5 of phase 0 and p = 0.2 of phase 1.
    logits, labels = one_row(0.5, 0.2, 0.9), torch.tensor([[[0, 1, IGNORED]]])
    dice = ((2 * 0.5 + 1) / (0.7 + 1 + 1), (2 * 0.8 + 1) / (1.3 + 1 + 1))
    assert Dice()(logits, labels).item() == pytest.approx(1 - sum(dice) / 2, rel=1e-12)


# Limits and sums


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("known", [1.0, 0.3])
@pytest.mark.parametrize("limit", [Focal(0), Boundary(0), FocalDice(0, dice_weight=0), CrossEntropyDice(0)])
def test_limits_are_cross_entropy(shape, known, limit):
    logits, labels = random_case(shape, known=known)
    expected = functional.cross_entropy(logits, labels, ignore_index=IGNORED)
    assert CrossEntropy()(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)
    assert limit(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_the_sums_of_their_parts(shape):
    logits, labels = random_case(shape, known=0.8)
    dice = Dice()(logits, labels).item()
    for whole, part in (
        (CrossEntropyDice(0.7), CrossEntropy()),
        (FocalDice(3, dice_weight=0.7), Focal(3)),
        (Boundary(2, dice_weight=0.7), Boundary(2)),
    ):
        assert whole(logits, labels).item() == pytest.approx(part(logits, labels).item() + 0.7 * dice, rel=1e-6)


def test_boundary_loss_of_a_sample_of_one_phase_is_cross_entropy():
    logits, _ = random_case((2, 3, 6, 6))
    labels = torch.ones(2, 6, 6, dtype=torch.long)
    assert Boundary(9)(logits, labels).item() == pytest.approx(CrossEntropy()(logits, labels).item(), rel=1e-6)


def test_boundary_loss_punishes_a_mistake_in_a_thin_pore_more_than_one_far_inside_the_solid():
    labels = torch.ones(1, 20, 20, dtype=torch.long)
    labels[:, :, 3] = 0
    sure = 8.0 * functional.one_hot(labels, 2).movedim(-1, 1).float()
    costs = []
    for x in (3, 15):
        wrong = sure.clone()
        wrong[:, :, 10, x] *= -1
        costs.append(Boundary(4, 1.5)(wrong, labels).item() - Boundary(4, 1.5)(sure, labels).item())
    assert costs[0] / costs[1] == pytest.approx(1 + 4 * math.exp(-0.125 / 1.5**2), rel=1e-3)


# Several outputs


@pytest.mark.parametrize("criterion", EACH, ids=kind)
def test_outputs_of_deep_supervision_weigh_half_as_much_from_one_to_the_next(criterion):
    cases = [random_case((2, 3, 5, 7), seed=seed)[0] for seed in range(3)]
    _, labels = random_case((2, 3, 5, 7), known=0.9)
    parts = [criterion(logits, labels).item() for logits in cases]
    expected = (4 * parts[0] + 2 * parts[1] + parts[2]) / 7
    assert criterion(tuple(cases), labels).item() == pytest.approx(expected, rel=1e-6)
    assert criterion(cases[:1], labels).item() == parts[0]


# Gradients


@pytest.mark.parametrize("criterion", EACH, ids=kind)
@pytest.mark.parametrize("shape", [(2, 3, 3, 4), (1, 3, 2, 3, 2)])
def test_gradient_equals_finite_differences(criterion, shape):
    logits, labels = random_case(shape, known=0.8, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: criterion(x, labels), logits.requires_grad_())


@pytest.mark.parametrize("criterion", EACH, ids=kind)
@pytest.mark.parametrize("shape", SHAPES)
def test_voxels_without_a_label_have_no_gradient_and_no_say(criterion, shape):
    logits, labels = random_case(shape, known=0.4)
    unknown = (labels == IGNORED).unsqueeze(1).expand(shape)
    loss = criterion(logits.requires_grad_(), labels)
    loss.backward()
    assert (logits.grad[unknown] == 0).all()
    assert (logits.grad[~unknown] != 0).any()
    changed = torch.where(unknown, 7 * logits.detach().flip(0), logits.detach())
    assert torch.equal(criterion(changed, labels), loss.detach())


@pytest.mark.parametrize("criterion", [CrossEntropy(), Dice(), Focal(), FocalDice()], ids=kind)
def test_loss_of_a_few_scribbles_equals_that_of_their_voxels_alone(criterion):
    logits, labels = random_case((2, 3, 9, 9), known=0.2)
    known = labels != IGNORED
    alone = logits.movedim(1, -1)[known].T[None], labels[known][None]
    assert criterion(logits, labels).item() == pytest.approx(criterion(*alone).item(), rel=1e-5)


@pytest.mark.parametrize("criterion", EACH, ids=kind)
def test_batch_without_any_label_costs_nothing_and_teaches_nothing(criterion):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = criterion(logits, torch.full((1, 4, 4), IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("criterion", EACH, ids=kind)
@pytest.mark.parametrize("certain", [30.0, 200.0, 3e4])
def test_certain_predictions_right_or_wrong_have_finite_gradients(criterion, certain):
    labels = torch.tensor([[[0, 1, 2, 0], [1, 1, 0, 2]]])
    for sign in (1, -1):
        logits = (sign * certain * functional.one_hot(labels, 3).movedim(-1, 1)).float().requires_grad_()
        loss = criterion(logits, labels)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


# Distance to the border


@pytest.mark.parametrize("shape", [(2, 13, 17), (2, 7, 9, 8)])
@pytest.mark.parametrize("reach", [1, 3, 40])
@pytest.mark.parametrize("known", [1.0, 0.5])
def test_border_distance_equals_scipys_transform_of_the_other_phases(shape, reach, known):
    generator = np.random.default_rng(0)
    # Blocks of 3 voxels, so that distances differ; the second sample has one phase.
    seeds = generator.integers(0, 3, [-(-n // 3) for n in shape[1:]])
    labels = np.zeros(shape, np.int64)
    labels[0] = np.kron(seeds, np.ones((3,) * seeds.ndim, int))[tuple(slice(n) for n in shape[1:])]
    labels[generator.random(shape) >= known] = IGNORED
    found = border_distance(torch.from_numpy(labels), reach=reach).numpy()
    for phase in range(3):
        other = (labels[0] != phase) & (labels[0] != IGNORED)
        expected = distance_transform_edt(~other)
        expected[expected > reach] = np.inf
        inside = labels[0] == phase
        np.testing.assert_allclose(found[0][inside], expected[inside], rtol=1e-6)
    assert np.isinf(found[labels == IGNORED]).all()
    assert np.isinf(found[1]).all()


# Independent oracle


@pytest.mark.parametrize("shape", SHAPES)
def test_losses_equal_those_of_monai(shape):
    losses = pytest.importorskip("monai.losses")
    logits, labels = random_case(shape)
    target = labels.unsqueeze(1)
    # One pixel smooths both sums of Dice; focal's mean is over the phases too.
    dice = losses.DiceLoss(softmax=True, to_onehot_y=True, batch=True, smooth_nr=1, smooth_dr=1)
    assert Dice()(logits, labels).item() == pytest.approx(dice(logits, target).item(), rel=1e-5)
    both = losses.DiceCELoss(softmax=True, to_onehot_y=True, batch=True, smooth_nr=1, smooth_dr=1)
    assert CrossEntropyDice()(logits, labels).item() == pytest.approx(both(logits, target).item(), rel=1e-5)
    for gamma in (0.0, 0.5, 2.0):
        focal = losses.FocalLoss(use_softmax=True, to_onehot_y=True, gamma=gamma, alpha=[0.2, 0.5, 1])
        found = Focal(gamma, [0.2, 0.5, 1])(logits, labels).item()
        assert found == pytest.approx(3 * focal(logits, target).item(), rel=1e-5)
    outputs = [random_case(shape, seed=seed)[0] for seed in range(3)]
    deep = losses.DeepSupervisionLoss(dice, weight_mode="exp")(outputs, target)
    # There the weights 1, 1/2, 1/4 are not divided by their sum.
    assert Dice()(outputs, labels).item() == pytest.approx(deep.item() / 1.75, rel=1e-5)


# By name


def test_every_loss_is_built_by_its_name_with_its_settings():
    assert list(LOSSES) == ["cross-entropy", "dice", "cross-entropy+dice", "focal", "focal+dice", "boundary"]
    for name, kind in LOSSES.items():
        assert type(build_loss(name)) is kind
    logits, labels = random_case((2, 3, 5, 7))
    for built, expected in (
        (build_loss("cross-entropy+dice", dice_weight=0.5), CrossEntropyDice(0.5)),
        (build_loss("focal", gamma=1, alpha=[1, 2, 3]), Focal(1, [1, 2, 3])),
        (build_loss("focal+dice", gamma=1, dice_weight=3), FocalDice(1, dice_weight=3)),
        (build_loss("boundary", weight=1, width_vox=0.7, dice_weight=1), Boundary(1, 0.7, dice_weight=1)),
    ):
        assert torch.equal(built(logits, labels), expected(logits, labels))


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("focla", {}, "there is no loss 'focla'; give one of cross-entropy, dice, .*, boundary"),
        ("dice", {"gamma": 2}, "loss 'dice' has no setting 'gamma'; it takes none"),
        ("focal", {"width_vox": 2}, "loss 'focal' has no setting 'width_vox'; it takes gamma, alpha"),
        ("focal", {"gamma": -1}, "gamma is -1; give a number, 0 or more"),
        ("focal", {"gamma": math.nan}, "gamma is nan"),
        ("focal+dice", {"gamma": "2"}, "gamma is '2'"),
        ("focal", {"alpha": 0.25}, "alpha is 0.25; give one weight a phase, or None"),
        ("focal", {"alpha": []}, r"alpha is \[\]"),
        ("focal", {"alpha": [1, -1]}, "a weight of alpha is -1"),
        ("focal", {"alpha": [0, 0]}, "every weight of alpha is 0"),
        ("cross-entropy+dice", {"dice_weight": math.inf}, "dice_weight is inf"),
        ("cross-entropy+dice", {"dice_weight": True}, "dice_weight is True"),
        ("boundary", {"weight": -0.1}, "weight is -0.1"),
        ("boundary", {"width_vox": 0}, "width_vox is 0; give a number of voxels above 0"),
    ],
)
def test_bad_settings_of_losses_are_refused(name, settings, reason):
    with pytest.raises(ValueError, match=reason):
        build_loss(name, **settings)


@pytest.mark.parametrize("criterion", EACH, ids=kind)
@pytest.mark.parametrize(
    ("logits", "labels", "reason"),
    [
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 5).long(), r"logits have shape \(1, 3, 4, 4\) and labels"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(2, 4, 4).long(), "of the size of the labels"),
        ((torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 2, 2)), torch.zeros(1, 4, 4).long(), r"shape \(1, 3, 2, 2\)"),
        ((), torch.zeros(1, 4, 4).long(), "for 0 outputs"),
        (torch.zeros(0, 3, 4, 4), torch.zeros(0, 4, 4).long(), r"labels have shape \(0, 4, 4\)"),
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4), "labels are torch.float32; give whole numbers"),
        (torch.zeros(1, 3, 4, 4), torch.full((1, 4, 4), 3), "a label is 3; the logits know phases 0 … 2"),
        (torch.zeros(1, 3, 4, 4), torch.full((1, 4, 4), -1), "a label is -1"),
    ],
)
def test_labels_that_do_not_fit_the_logits_are_refused(criterion, logits, labels, reason):
    with pytest.raises(ValueError, match=reason):
        criterion(logits, labels)


@pytest.mark.parametrize(("criterion", "phases"), [(Focal(2, [1, 2]), 3), (FocalDice(2, [1, 2, 3]), 2)])
def test_weights_for_another_number_of_phases_are_refused(criterion, phases):
    with pytest.raises(ValueError, match=f"and the logits {phases} phases; give one a phase"):
        criterion(torch.zeros(1, phases, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long))


@pytest.mark.parametrize("reach", [0, -1, 2.5, True])
def test_reach_that_is_no_number_of_voxels_is_refused(reach):
    with pytest.raises(ValueError, match=r"reach is .*; give a whole number of voxels above 0"):
        border_distance(torch.zeros(1, 4, 4, dtype=torch.long), reach=reach)
