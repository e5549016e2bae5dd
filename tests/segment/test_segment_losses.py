import math

import pytest
import torch
from torch.nn import functional

from segment.losses import CrossEntropyDice


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
