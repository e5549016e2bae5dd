import pytest
import torch

from segment.networks import UNet, count_parameters
from segment.networks.unet import SMALLEST_PROBABILITY


@pytest.mark.parametrize("n_phases", [2, 3, 4])
@pytest.mark.parametrize(("dims", "shape"), [(2, (16, 24)), (3, (8, 12, 16))])
def test_logits_have_one_channel_a_phase_and_the_shape_of_the_input(dims, shape, n_phases):
    network = UNet(dims=dims, in_channels=2, n_phases=n_phases, width=4, depth=2)
    assert network(torch.rand(3, 2, *shape)).shape == (3, n_phases, *shape)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_factor_is_the_smallest_side_that_a_network_takes(depth):
    network = UNet(width=4, depth=depth).eval()
    assert network.factor == 2**depth
    assert network(torch.rand(1, 1, network.factor, network.factor)).shape == (1, 2, network.factor, network.factor)


@pytest.mark.parametrize(("dims", "n_phases"), [(2, 2), (3, 2), (3, 4)])
def test_refining_network_begins_by_changing_nothing(dims, n_phases):
    network = UNet(dims=dims, in_channels=n_phases + 1, n_phases=n_phases, width=4, depth=1, refines=True)
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, n_phases, *(8,) * dims, generator=generator)
    probability = logits.softmax(dim=1)
    grey = torch.randn(2, 1, *(8,) * dims, generator=generator)
    found = network(torch.cat([probability, grey], dim=1)).softmax(dim=1)
    assert torch.equal(found.argmax(dim=1), probability.argmax(dim=1))
    # Clamping raises each phase by at most SMALLEST_PROBABILITY, before all are divided by their sum.
    assert (found - probability).abs().max() <= n_phases * SMALLEST_PROBABILITY


def test_refining_network_takes_probabilities_of_exactly_0_and_1():
    network = UNet(dims=3, in_channels=3, n_phases=2, width=4, depth=1, refines=True)
    certain = torch.zeros(1, 3, 4, 4, 4)
    certain[:, 1] = 1
    found = network(certain)
    assert torch.isfinite(found).all()
    assert (found.argmax(dim=1) == 1).all()


@pytest.mark.parametrize("refines", [False, True])
def test_saved_network_gives_equal_outputs_when_loaded(tmp_path, wild_network, refines):
    network = wild_network(dims=3, in_channels=4, n_phases=3, refines=refines)
    network.save_pretrained(tmp_path / "network")
    loaded = UNet.from_pretrained(tmp_path / "network").eval()
    x = torch.rand(1, 4, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    assert dict(loaded.config)["n_phases"] == 3
    assert loaded.refines is refines
    with torch.inference_mode():
        assert torch.equal(network(x), loaded(x))


def test_answer_for_an_image_does_not_depend_on_the_others_of_its_batch(wild_network):
    network = wild_network()
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_answer_at_a_voxel_depends_on_its_surroundings_alone(wild_network, dims):
    # A statistic over the whole tile would make the answer depend on where a tile happens to end.
    network = wild_network(dims=dims, width=4)
    x = torch.rand(1, 1, *(8,) * (dims - 1), 64, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[..., 40:] += 1
    with torch.inference_mode():
        before, after = network(x), network(changed)
    # Two 3-wide convolutions, two at half the resolution, two more: 2 + 4 + 2, and interpolation at most 4 beyond.
    assert torch.equal(before[..., :28], after[..., :28])
    assert not torch.allclose(before[..., 36:], after[..., 36:])


def test_parameters_of_the_default_network_are_those_of_the_formula():
    # Widths 16, 32, 64, 128. A convolution a → b has 9 a b + b numbers, a norm 2 b, the exit 16 · 2 + 2.
    def double(a, b):
        return (9 * a * b + b) + 2 * b + (9 * b * b + b) + 2 * b

    down = double(1, 16) + double(16, 32) + double(32, 64) + double(64, 128)
    up = double(64 + 128, 64) + double(32 + 64, 32) + double(16 + 32, 16)
    assert count_parameters(UNet()) == down + up + 34 == 488_434


@pytest.mark.parametrize("width", [1, 12, 17, 28])
def test_every_width_makes_a_network(width):
    assert UNet(width=width, depth=1)(torch.rand(1, 1, 4, 4)).shape == (1, 2, 4, 4)


def test_other_than_two_or_three_dimensions_are_refused():
    with pytest.raises(ValueError, match="dims is 1"):
        UNet(dims=1)
