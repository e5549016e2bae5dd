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
    x = torch.randn(1, 2, 4, 4, 64)
    changed = x.clone()
    changed[..., 0] += 5

    def far_change(attention_levels):
        denoiser = wild_denoiser(channels=(8,), attention_levels=attention_levels)
        for norm in (m for m in denoiser.modules() if isinstance(m, torch.nn.GroupNorm)):
            norm.forward = lambda v: v  # a norm also sees the whole volume; without it only attention does
        time = torch.tensor([9])
        return float((denoiser(x, time) - denoiser(changed, time)).detach().abs()[..., -1].max())

    assert far_change(1) > 1e-4
    assert far_change(0) == 0.0


def test_planar_denoiser_treats_each_plane_on_its_own(wild_denoiser):
    denoiser, times = wild_denoiser(planar=True, stem=2), torch.tensor([9, 400])
    x = torch.randn(2, 2, 5, 8, 12)
    together = denoiser(x, times)
    assert together.shape == x.shape
    for z in range(5):
        torch.testing.assert_close(together[:, :, z : z + 1], denoiser(x[:, :, z : z + 1], times), rtol=1e-4, atol=1e-5)


def test_volume_fractions_change_the_prediction_only_where_they_are_told(wild_denoiser):
    denoiser = wild_denoiser(conditions=2)
    x, times = torch.randn(3, 2, 4, 4, 4), torch.tensor([9, 9, 9])
    untold = denoiser(x, times)
    told = denoiser(x, times, torch.tensor([[0.3, 0.7], [float("nan")] * 2, [0.5, 0.5]]))
    assert not torch.allclose(told[0], untold[0])
    assert not torch.allclose(told[2], untold[2])
    # Not told and asked nothing are the same: all that the embedding adds is its bias.
    torch.testing.assert_close(told[1], denoiser(x, times, torch.full((3, 2), float("nan")))[1])


def test_gradient_checkpointing_changes_no_gradient(wild_denoiser):
    gradients = []
    for forget in (False, True):
        denoiser = wild_denoiser().train()
        denoiser.gradient_checkpointing = forget
        denoiser(torch.ones(1, 2, 4, 4, 4), torch.tensor([50])).square().sum().backward()
        gradients.append([p.grad.clone() for p in denoiser.parameters() if p.grad is not None])
    assert len(gradients[0]) > 20
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("shape", [(1, 3, 4, 4, 4), (1, 2, 4, 5, 4)])
def test_wrong_channels_and_lengths_are_refused(wild_denoiser, shape):
    with pytest.raises(ValueError, match=r"takes \(B, 2, Z, Y, X\) with multiples of .2, 2, 2."):
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
