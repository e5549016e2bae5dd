import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from generative.loading import ModelCard, load
from generative.patches import LabelledPatches
from generative.rivals import adversarial
from generative.rivals.adversarial import AdversarialPipeline
from generative.rivals.critics import Critic, one_hot
from generative.rivals.dcgan import (
    DCGAN,
    DiscriminatorLoss,
    GeneratorLoss,
    VolumesAndLatents,
    dcgan_generator,
    dcgan_turns,
)  # fmt: skip
from generative.rivals.slicegan import (
    CriticLoss,
    PlaneCrops,
    PlanesAndLatents,
    SliceGAN,
    _cut,
    gradient_penalty,
    slicegan_generator,
    slicegan_turns,
)  # fmt: skip
from generative.rivals.volume_generator import VolumeGenerator, check_information_density

MAKERS = {"dcgan": dcgan_generator, "slicegan": slicegan_generator}
KINDS = pytest.mark.parametrize("kind", list(MAKERS))


def wild_generator(kind, n_phases=2, widths=(6, 4), seed=0):
    """Return a small network in which nothing is silent."""
    torch.manual_seed(seed)
    net = MAKERS[kind](n_phases, latent_channels=3, widths=widths)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    return net.eval()


def wild_pipe(kind, n_phases=2, **arguments):
    net = wild_generator(kind, n_phases, **arguments)
    names = tuple(f"phase {i}" for i in range(n_phases))
    return AdversarialPipeline(net, ModelCard(kind, names, voxel_size_um=(0.1, 0.1, 0.2), patch=(16, 16, 16)))


# The generator


@KINDS
def test_length_is_that_of_what_the_network_makes(kind):
    net = wild_generator(kind)
    for sites in range(3, 8):
        made = net.scores(torch.zeros(1, 3, sites, sites + 1, 3)).shape
        assert made == (1, 2, net.length(sites), net.length(sites + 1), net.length(3))
        assert net.length(sites) == net.scale * sites + net.length(0)


@KINDS
def test_sites_are_the_fewest_that_suffice(kind):
    net = wild_generator(kind)
    for length in range(1, 100):
        n = net.sites(length)
        assert net.length(n) >= length
        assert n == 1 or net.length(n - 1) < length


def test_published_sizes_come_of_the_published_latents():
    assert slicegan_generator(2, latent_channels=1, widths=(1,) * 4).latent_shape((64, 64, 96)) == (1, 4, 4, 5)
    assert dcgan_generator(2, latent_channels=1, widths=(1,) * 4).latent_shape((64, 64, 80)) == (1, 1, 1, 2)


@KINDS
@pytest.mark.parametrize("n_phases", [2, 3, 4])
def test_probabilities_of_n_phases_add_up_to_one(kind, n_phases):
    net = wild_generator(kind, n_phases)
    made = net(torch.randn(2, *net.latent_shape((16, 16, 16))))
    assert made.shape == (2, n_phases, 16, 16, 16)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made.sum(dim=1), torch.ones(2, 16, 16, 16))


def reach(net, sites):
    """Return how often each voxel is reached from the latent, every kernel being ones."""
    for module in net.modules():
        if isinstance(module, nn.ConvTranspose3d):
            nn.init.ones_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    only = nn.Sequential(*(m for m in net.net if isinstance(m, nn.ConvTranspose3d)))
    return only(torch.ones(1, 3, sites, sites, sites))[0, 0]


def test_slicegan_reaches_every_voxel_equally_often_and_dcgan_does_not():
    even, uneven = reach(wild_generator("slicegan"), 4), reach(wild_generator("dcgan"), 2)
    assert even.min() == even.max() > 0
    assert uneven[0, 0, 0] < uneven[12, 12, 12]


@KINDS
def test_voxels_within_the_edge_lack_sites_and_the_next_do_not(kind):
    net = wild_generator(kind)
    counts = reach(net, 12)[:, net.length(12) // 2, net.length(12) // 2]
    inside = counts[net.edge : len(counts) - net.edge]
    assert inside.min() == inside.max()
    assert net.edge == 0 or counts[net.edge - 1] < inside[0]


@pytest.mark.parametrize("layers", [[(4, 4, 2)], [(5, 2, 3)], [(4, 2, 1)], [(4, 2, 2), (3, 1, 1)]])
def test_layers_that_spread_information_unevenly_are_refused(layers):
    with pytest.raises(ValueError, match="spread information unevenly; the stride must be smaller"):
        check_information_density(layers)


def test_layers_that_obey_the_three_rules_are_accepted():
    assert check_information_density([(4, 2, 2), (4, 2, 3), (6, 3, 3), (3, 1, 2)]) is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"kernels": (4, 4)}, "2 widths need 3 kernels"), ({"strides": (2, 2, 5)}, "give 1 <= stride <= kernel")],
)
def test_layers_that_fit_no_network_are_refused(wrong, message):
    layers = {"kernels": (4, 4, 4), "strides": (2, 2, 2), "paddings": (2, 2, 3)}
    with pytest.raises(ValueError, match=message):
        VolumeGenerator(widths=(2, 2), **layers | wrong)


# Volumes


@KINDS
@pytest.mark.parametrize("shape", [(16, 16, 16), (1, 1, 1), (7, 24, 33), (40, 16, 17)])
def test_volume_has_the_shape_asked_for(kind, shape):
    labels = wild_pipe(kind, 3)(shape, count=2)
    assert labels.shape == (2, *shape)
    assert labels.dtype == np.uint8
    assert labels.max() < 3


@KINDS
def test_volume_depends_on_seed_and_number_alone(kind):
    pipe = wild_pipe(kind)
    four = pipe((20, 16, 17), count=4, seed=5)
    torch.manual_seed(99)
    assert np.array_equal(pipe((20, 16, 17), seed=5), four[:1])
    assert np.array_equal(pipe((20, 16, 17), seed=5, first=2, count=2, steps=7), four[2:])
    assert not np.array_equal(four[0], four[1])
    assert not np.array_equal(pipe((20, 16, 17), seed=6), four[:1])


@KINDS
@pytest.mark.parametrize("periodic", [False, True])
def test_volume_made_in_blocks_is_the_volume_made_at_once(kind, periodic, monkeypatch):
    pipe, blocks = wild_pipe(kind), []
    whole = pipe((40, 24, 16), periodic=periodic, seed=1)
    monkeypatch.setattr(adversarial, "BLOCK", 9)
    monkeypatch.setattr(pipe, "_scores", lambda *a: blocks.append(AdversarialPipeline._scores(pipe, *a)) or blocks[-1])
    parts = pipe((40, 24, 16), periodic=periodic, seed=1)
    assert len(blocks) == 5 * 3 * 2
    # Kernels may round differently in another place, which can turn a voxel that is nearly a tie.
    assert np.mean(parts != whole) < 1e-3


@KINDS
def test_periodic_volume_is_one_period_of_an_endless_one(kind):
    pipe = wild_pipe(kind)
    shape = (16, 24, 32)
    request = adversarial.check_request(shape, default=None, n_phases=2, seed=3, periodic=True)
    latent, corner = pipe._latent(request, 0)
    sites = [length // pipe.generator.scale for length in shape]
    one = latent[:, : sites[0], : sites[1], : sites[2]]
    times = [-(-latent.shape[axis] // n) + 2 for axis, n in enumerate(sites, start=1)]
    endless = pipe.generator.scores(one.repeat(1, *times)[None])[0].detach()
    for turn in (0, 1):
        at = tuple(slice(c + turn * n, c + (turn + 1) * n) for c, n in zip(corner, shape, strict=True))
        period = endless[(slice(None), *at)].numpy()
        labels = pipe(shape, seed=3, periodic=True)[0]
        assert np.mean(period.argmax(axis=0) != labels) < 1e-3


@KINDS
def test_fractions_are_hit_to_within_a_voxel(kind):
    labels = wild_pipe(kind, 3)((16, 16, 20), count=2, fractions=(0.2, 0.3, 0.5))
    counts = np.stack([np.bincount(one.ravel(), minlength=3) for one in labels])
    assert np.abs(counts - 16 * 16 * 20 * np.array([0.2, 0.3, 0.5])).max() <= 1


@KINDS
def test_saved_model_makes_the_same_volumes(kind, tmp_path):
    pipe = wild_pipe(kind, 3)
    pipe.save_pretrained(tmp_path / "model")
    again = load(tmp_path / "model", device="cpu")
    assert again.card == dataclasses.replace(pipe.card, settings={})
    assert np.array_equal(again(count=2, seed=4), pipe(count=2, seed=4))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"shape": (16, 16, 18), "periodic": True}, r"needs lengths that are multiples of [48]"),
        ({"shape": (16, 16)}, "give three whole lengths"),
        ({"count": 0}, "count is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"fractions": (0.5, 0.4, 0.1)}, "this model has 2 phases"),
        ({"fractions": (0.5, 0.4)}, "must add up to 1"),
    ],
)
@KINDS
def test_impossible_request_is_refused(kind, wrong, message):
    with pytest.raises(ValueError, match=message):
        wild_pipe(kind)(**wrong)


def test_model_of_another_number_of_phases_is_refused():
    with pytest.raises(ValueError, match="3 phases are named, but the generator makes 2"):
        AdversarialPipeline(wild_generator("dcgan"), ModelCard("dcgan", ("a", "b", "c")))


def test_incomplete_and_broken_models_are_refused(tmp_path):
    pipe = wild_pipe("dcgan")
    pipe.save_pretrained(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match="does not hold a complete model"):
        AdversarialPipeline.from_pretrained(tmp_path)
    nn.init.constant_(next(pipe.generator.parameters()), math.nan)
    with pytest.raises(ValueError, match="scores are not finite"):
        pipe()


# What they see


def test_one_hot_has_a_one_in_the_channel_of_the_label():
    labels = torch.tensor([[[0, 2], [1, 2]]], dtype=torch.uint8)
    coded = one_hot(labels, 3)
    assert coded.shape == (1, 3, 2, 2)
    assert torch.equal(coded.argmax(dim=1), labels.long())
    assert torch.equal(coded.sum(dim=1), torch.ones(1, 2, 2))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_cut_normal_to_their_axis_at_their_places(axis):
    volumes = torch.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    places = torch.tensor([[3, 0], [1, 1]])
    cut = _cut(volumes, places, axis=axis)
    expected = [volumes[b].select(1 + axis, int(places[b, s])) for b in range(2) for s in range(2)]
    assert torch.equal(cut, torch.stack(expected))


def test_crops_are_pieces_of_the_planes_of_their_axis():
    z, y, x = np.indices((6, 7, 8), dtype=np.uint8)
    labels = 60 * (z % 4) + 8 * y % 60 + x
    crops = PlaneCrops([labels] * 3, size=(4, 5, 6), stride=1, seed=2)
    shapes, planes = [(5, 6), (4, 6), (4, 5)], [0, 0, 0]
    for axis in range(3):
        for index in range(30):
            crop = crops(axis, index)
            assert crop.shape == shapes[axis]
            windows = np.lib.stride_tricks.sliding_window_view(labels, tuple(np.insert(crop.shape, axis, 1)))
            planes[axis] += bool((windows.squeeze(3 + axis) == crop).all(axis=(-1, -2)).any())
    assert planes == [30, 30, 30]


def test_example_depends_on_its_index_alone(two_phases):
    def rows():
        crops = PlaneCrops([two_phases] * 3, size=(8, 8, 8), stride=2, symmetry="cubic", seed=7)
        patches = LabelledPatches(two_phases, size=(8, 8, 8), stride=2, symmetry="cubic", seed=7)
        yield PlanesAndLatents(crops, wild_generator("slicegan", widths=(2,)), slices=3)
        yield VolumesAndLatents(patches, wild_generator("dcgan", widths=(2,)))

    for onward, alone in zip(rows(), rows(), strict=True):
        examples = [onward(i) for i in range(20)]
        for i in (19, 0, 7):
            again = alone(i)
            assert all(torch.equal(again[name], value) for name, value in examples[i].items())
        assert not torch.equal(examples[0]["latents"][0], examples[0]["latents"][1])


def test_large_image_is_not_turned_into_an_array_of_its_crops():
    import tracemalloc

    image = np.random.default_rng(0).integers(2, size=(600, 600), dtype=np.uint8)
    tracemalloc.start()
    crops = PlaneCrops(
        [image[None], image[:, None], image[:, :, None]], size=(64, 64, 64), stride=1, symmetry="flips", seed=0
    )
    for axis in range(3):
        crops(axis, 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Three orders of the 537² places, 8 bytes each, one of them while it is being shuffled; the crops are 1.2 GB.
    assert peak < 5 * 8 * 537**2 + 1e6


def test_image_smaller_than_the_crop_is_refused_with_both_sizes():
    image = np.zeros((1, 50, 70), np.uint8)
    with pytest.raises(ValueError, match=r"normal to z have 50 × 70 pixels, fewer than the crop of 64 × 64; lower"):
        PlaneCrops([image] * 3, size=(64, 64, 64), stride=1)


# Losses


class Linear(nn.Module):
    """c(x) = w · x."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, x):
        return (x * self.w).flatten(1).sum(dim=1)


@pytest.mark.parametrize("half", [False, True])
def test_penalty_of_a_linear_critic_is_that_of_its_slope(half):
    w = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(1))
    critic = Linear(w)
    real, made = torch.randn(6, 2, 5, 5), torch.randn(6, 2, 5, 5)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        penalty = gradient_penalty(critic, real, made, weights=torch.rand(6))
    norm = w.norm()
    assert penalty.item() == pytest.approx((norm.item() - 1) ** 2, rel=1e-5)
    penalty.backward()
    torch.testing.assert_close(critic.w.grad, 2 * (norm - 1) * w / norm)


def test_penalty_of_a_network_in_half_precision_is_that_in_full():
    torch.manual_seed(0)
    critic = Critic(2, (4, 8), dims=2, normalised=False)
    real, made, weights = torch.rand(3, 2, 16, 16), torch.rand(3, 2, 16, 16), torch.rand(3)
    full = gradient_penalty(critic, real, made, weights=weights)
    with torch.autocast("cpu", torch.bfloat16):
        half = gradient_penalty(critic, real, made, weights=weights)
    assert half.item() == full.item()
    half.backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in critic.parameters())


class Constant(nn.Module):
    """Volumes of phase 0 whatever the latent."""

    def forward(self, latent):
        volume = torch.zeros(len(latent), 2, 16, 16, 16)
        volume[:, 0] = 1
        return volume


def test_critic_tells_two_constant_materials_apart_by_no_more_than_their_distance():
    torch.manual_seed(0)
    game = nn.Module()
    game.generator, game.critic = Constant(), nn.ModuleList([Critic(2, (8, 16), dims=2, normalised=False)])
    game.critic_along = lambda axis: game.critic[0]
    loss, optimizer = CriticLoss(2, penalty=10.0), torch.optim.Adam(game.critic.parameters(), lr=2e-3, betas=(0.0, 0.9))
    planes = {f"planes_{name}": torch.ones(2, 2, 16, 16, dtype=torch.uint8) for name in "zyx"}
    values = []
    for _ in range(60):
        weights, slices = torch.rand(2, 3, 2), torch.zeros(2, 3, 2, dtype=torch.long)
        batch = planes | {"latents": torch.zeros(2, 2, 1), "slices": slices, "weights": weights}
        optimizer.zero_grad()
        value = loss(game, batch)
        value.backward()
        optimizer.step()
        values.append(value.item())
    distance = math.sqrt(2 * 16 * 16)
    # With slope s along the line between them the loss is -s d + λ (s - 1)², least at s = 1 + d / 2λ.
    least = -distance - distance**2 / 40
    assert abs(values[0] - 10) < 3  # slopes of nearly nought at first
    assert 1.1 * least < min(values)
    assert values[-1] < -0.5 * distance


def told(*logits):
    """Return a model whose discriminator answers with these numbers in turn."""
    answers = iter(logits)
    game = nn.Module()
    game.generator = Constant()
    game.discriminator = lambda x: torch.full((len(x),), float(next(answers)))
    return game


def test_losses_of_dcgan_are_the_cross_entropies():
    batch = {"labels": torch.zeros(2, 16, 16, 16, dtype=torch.uint8), "latents": torch.zeros(2, 2, 1)}
    smooth = DiscriminatorLoss(2, 0.9)
    assert smooth(told(0, 0), batch).item() == pytest.approx(2 * math.log(2))
    # The best answer to smoothed truth is 0.9 itself; its cost is the entropy.
    entropy = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert smooth(told(math.log(9), -50), batch).item() == pytest.approx(entropy)
    assert smooth(told(math.log(9) + 0.3, -50), batch).item() > entropy
    assert GeneratorLoss()(told(3.0), batch).item() == pytest.approx(math.log1p(math.exp(-3.0)))


def test_each_turn_reaches_every_parameter_of_its_player(two_phases):
    crops = PlaneCrops([two_phases] * 3, size=(12, 12, 12), stride=2, seed=1)
    net = slicegan_generator(2, latent_channels=2, widths=(4,))
    assert net.length(net.sites(12)) == 12
    slicegan = SliceGAN(net, [Critic(2, (4,), dims=2, normalised=False) for _ in range(3)])
    turns = slicegan_turns(2, penalty=10.0, critic_steps=5, critic_rate=None, betas=(0.0, 0.9))
    row = PlanesAndLatents(crops, net, slices=2)
    net = dcgan_generator(2, latent_channels=2, widths=(4,))
    dcgan = DCGAN(net, Critic(2, (4,), dims=3, normalised=True))
    patches = VolumesAndLatents(LabelledPatches(two_phases, size=(8, 8, 8), stride=2), net)
    others = dcgan_turns(2, real_label=0.9, discriminator_rate=None, betas=(0.5, 0.999))
    for model, sample, both in ((slicegan, row, turns), (dcgan, patches, others)):
        batch = torch.utils.data.default_collate([sample(0), sample(1)])
        for turn in both:
            model.zero_grad()
            turn.loss(model, batch).backward()
            part = model.get_submodule(turn.parameters)
            assert all(p.grad is not None and bool((p.grad != 0).any()) for p in part.parameters())
    assert [turn.every for turn in turns] == [1, 5]


@pytest.mark.parametrize("dims", [2, 3])
def test_critic_gives_a_number_for_each_sample_of_any_size(dims):
    critic = Critic(3, (4, 8), dims=dims, normalised=dims == 3)
    assert Critic.smallest((4, 8)) == 16
    for length in (16, 24, 37):
        assert critic(torch.rand(5, 3, *[length] * dims)).shape == (5,)


def test_two_critics_are_refused():
    critics = [Critic(2, (4,), dims=2, normalised=False)] * 2
    with pytest.raises(ValueError, match="there are 2 critics; give one"):
        SliceGAN(wild_generator("slicegan"), critics)
