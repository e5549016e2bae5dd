import pytest
import torch

from generative.denoiser import Denoiser


@pytest.mark.parametrize("n_phases", [2, 3, 4])
@pytest.mark.parametrize("stem", [1, 2])
def test_prediction_has_the_shape_of_a_non_cubic_volume(wild_denoiser, n_phases, stem):
    x = torch.randn(2, n_phases, 4, 8, 12)
    assert wild_denoiser(n_phases, stem=stem)(x, torch.tensor([3, 700])).shape == x.shape


def test_new_denoiser_predicts_zero_everywhere():
    denoiser = Denoiser(2, channels=(8, 16), blocks_per_level=1)
    assert float(denoiser(torch.randn(1, 2, 4, 4, 4), torch.tensor([5])).detach().abs().max()) == 0.0


def test_prediction_depends_on_time(wild_denoiser):
    denoiser, x = wild_denoiser(), torch.randn(1, 2, 4, 4, 4)
    assert not torch.allclose(denoiser(x, torch.tensor([5])), denoiser(x, torch.tensor([600])))


def test_attention_carries_a_change_across_the_whole_volume(wild_denoiser):
    denoiser = wild_denoiser(channels=(8,), attention_levels=0)
    x = torch.randn(1, 2, 4, 4, 32)
    changed = x.clone()
    changed[..., 0] += 5
    norms = [m for m in denoiser.modules() if isinstance(m, torch.nn.GroupNorm)]
    for norm in norms:  # a norm also sees the whole volume; without it only attention does
        norm.forward = lambda v: v
    difference = (denoiser(x, torch.tensor([9])) - denoiser(changed, torch.tensor([9]))).detach().abs()
    assert float(difference[..., -1].max()) > 1e-4
    for block in denoiser.middle:
        block.attention = torch.nn.Identity()
    difference = (denoiser(x, torch.tensor([9])) - denoiser(changed, torch.tensor([9]))).detach().abs()
    assert float(difference[..., -1].max()) == 0.0


def test_circular_boundary_makes_the_denoiser_commute_with_translation(wild_denoiser):
    denoiser, time = wild_denoiser(stem=2), torch.tensor([200])
    denoiser.set_boundary("circular")
    x = torch.randn(1, 2, 8, 8, 16)
    shift = {"shifts": (4, -4, 8), "dims": (2, 3, 4)}
    rolled = denoiser(x.roll(**shift), time)
    torch.testing.assert_close(rolled, denoiser(x, time).roll(**shift), rtol=1e-4, atol=1e-5)
    denoiser.set_boundary("zeros")
    assert not torch.allclose(denoiser(x.roll(**shift), time), denoiser(x, time).roll(**shift), atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 3, 4, 4, 4), (1, 2, 4, 5, 4)])
def test_wrong_channels_and_lengths_are_refused(wild_denoiser, shape):
    with pytest.raises(ValueError, match=r"takes \(B, 2, Z, Y, X\) with multiples of 2"):
        wild_denoiser()(torch.zeros(shape), torch.tensor([1]))


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="3 attention heads do not divide 16"):
        Denoiser(2, channels=(8, 16), attention_heads=3)


def test_saved_denoiser_is_json_and_safetensors(tmp_path, wild_denoiser):
    denoiser = wild_denoiser(3, stem=2)
    denoiser.save_pretrained(tmp_path)
    again = Denoiser.from_pretrained(tmp_path, local_files_only=True)
    assert all(torch.equal(a, b) for a, b in zip(denoiser.parameters(), again.parameters(), strict=True))
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".safetensors"]
