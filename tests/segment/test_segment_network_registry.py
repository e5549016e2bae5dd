import functools
import itertools
import json
import math
import re

import pytest
import torch
from accelerate import init_empty_weights
from torch import nn
from torch.nn import functional

from segment.networks import (
    NETWORKS,
    AttentionUNet,
    ResNeXtUNet,
    SegNet,
    UNet,
    UNet3Plus,
    build_network,
    count_parameters,
    load_network,
)

SMALL = {
    "unet": {"width": 4, "depth": 2},
    "segnet": {"width": 4},
    "vnet": {"width": 2, "depth": 2},
    "resnext-unet": {"width": 8, "cardinality": 8},
    "swin-unet": {"width": 12, "window": 2},
    "attention-unet": {"width": 4, "depth": 2},
    "unet3plus": {"width": 4, "depth": 2},
}
EVERY = [(name, dims) for name, entry in NETWORKS.items() for dims in entry.dims]


def small(name, dims, **channels):
    torch.manual_seed(0)
    return build_network(name, dims=dims, **({"in_channels": 3} | channels), **SMALL[name])


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def batch(network, count=1):
    """Return noise whose sides are odd multiples of the factor."""
    sides = (network.factor,) * (network.dims - 1) + (3 * network.factor,)
    return noise(count, network.config["in_channels"], *sides)


@functools.cache
def seasoned(name, dims):
    """Give a network whose batch norms have seen something."""
    network = small(name, dims)
    with torch.no_grad():
        network(3 * batch(network) + 1)
    return network.eval()


def settings(network):
    return {key: value for key, value in network.config.items() if not key.startswith("_")}


@pytest.mark.parametrize("n_phases", [2, 3, 4])
@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_every_network_learns_from_one_step_with_every_weight(name, dims, n_phases):
    network = small(name, dims, n_phases=n_phases)
    grey = batch(network)
    labels = torch.randint(n_phases, (len(grey), *grey.shape[2:]), generator=torch.Generator().manual_seed(2))

    def loss():
        answers = network(grey)
        answers = answers if isinstance(answers, tuple) else (answers,)
        assert {answer.shape for answer in answers} == {(len(grey), n_phases, *grey.shape[2:])}
        return sum(functional.cross_entropy(answer, labels) for answer in answers)

    before = loss()
    before.backward()
    # A bias before a batch norm has no effect; a weight without a gradient would be a dead branch.
    dead = [key for key, p in network.named_parameters() if p.grad is None or not (p.grad.any() or "bias" in key)]
    assert dead == []
    # A step along the gradient that would lower the loss by 0.1 ‰ if it were linear.
    with torch.no_grad():
        squared = sum(p.grad.square().sum() for p in network.parameters())
        for parameter in network.parameters():
            parameter -= 1e-4 * before / squared * parameter.grad
        assert loss() < before


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_weights_of_every_class_are_loaded_to_the_bit(tmp_path, name, dims):
    network = seasoned(name, dims)
    network.save_pretrained(tmp_path)
    loaded = load_network(tmp_path)
    assert type(loaded) is NETWORKS[name].network
    assert not loaded.training
    assert settings(loaded) == settings(network)
    weights = loaded.state_dict()
    assert weights.keys() == network.state_dict().keys()
    assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())
    # Where the weights lie in memory may change the order of the sums.
    with torch.inference_mode():
        answer = network(batch(network))
        assert (loaded(batch(network)) - answer).abs().max() <= 1e-5 * answer.abs().max()


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_answer_does_not_depend_on_the_others_of_a_batch(name, dims):
    network = seasoned(name, dims)
    grey = batch(network, count=2)
    with torch.inference_mode():
        both, one = network(grey), network(grey[:1])
    # Other blocking of the same sums: a few hundred roundings of float32, relative to the largest logit.
    assert (both[:1] - one).abs().max() <= 1e-4 * both.abs().max()
    assert not torch.allclose(both[:1], both[1:])


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_no_network_measures_the_tile_it_is_shown(name, dims):
    kinds = {type(module) for module in small(name, dims).modules()}
    measuring = (nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
    assert [kind for kind in kinds if issubclass(kind, measuring)] == []


@pytest.mark.parametrize(
    ("name", "dims", "size"),
    [(name, dims, {"width": 4, "depth": 1}) for name, dims in EVERY if name in ("vnet", "attention-unet", "unet3plus")]
    + [("segnet", 2, {"width": 4})],
)
def test_answer_at_a_voxel_depends_on_what_surrounds_it(name, dims, size):
    torch.manual_seed(0)
    network = build_network(name, dims=dims, **size).eval()
    grey = noise(1, 1, *(8,) * (dims - 1), 64)
    changed = grey.clone()
    changed[..., 40:] += 1
    with torch.inference_mode():
        before, after = network(grey), network(changed)
    # The widest view is SegNet's: 1 + 2 + 4 down, 4 + 2 + 1 up, and 8 for the blocks of its pooling.
    assert torch.equal(before[..., :18], after[..., :18])
    assert not torch.allclose(before[..., 40:], after[..., 40:])


@pytest.mark.parametrize("dims", [2, 3])
def test_every_window_of_the_swin_network_is_whole(dims):
    network = seasoned("swin-unet", dims)
    grey = noise(1, 3, *(network.factor,) * (dims - 1), 3 * network.factor)
    shapes = []
    hooks = [
        module.register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0].shape[:2])))
        for module in network.modules()
        if type(module).__name__ == "WindowAttention"
    ]
    with torch.inference_mode():
        network(grey)
    for hook in hooks:
        hook.remove()
    whole = network.window**dims
    voxels = math.prod(grey.shape[2:])
    # Two blocks in each of four stages; neither fewer voxels than a window nor any that were filled in.
    assert shapes == [(voxels // 2 ** (dims * stage) // whole, whole) for stage in (1, 2, 3, 4) for _ in range(2)]


def test_2_5d_network_takes_a_slice_among_its_neighbours():
    for beside in (0, 1, 2, 3):
        network = small("unet", 2, in_channels=2 * beside + 1).eval()
        slices = noise(1, 2 * beside + 1, 12, 20)
        assert network(slices).shape == (1, 2, 12, 20)


def test_deeply_supervised_network_answers_with_all_levels_in_training_alone():
    network = small("unet3plus", 2)
    grey = batch(network)
    answers = network.train()(grey)
    assert [answer.shape for answer in answers] == [(1, 2, *grey.shape[2:])] * 3
    network.eval()
    with torch.inference_mode():
        final = network(grey)
        levels = network._decode(network._encode(grey))
        assert torch.equal(final, network.exits[0](levels[0]))


def test_attention_gate_opens_and_shuts_a_skip():
    torch.manual_seed(0)
    network = AttentionUNet(width=4, depth=1).eval()
    grey, gate = noise(1, 1, 8, 8), network.gates[0]
    features, signal = noise(1, 4, 8, 8), noise(1, 8, 4, 4)
    with torch.inference_mode():
        assert (gate(features, signal).abs() <= features.abs()).all()
        for bias, kept in ((50.0, 1.0), (-50.0, 0.0)):
            gate.weigh.bias.fill_(bias)
            torch.testing.assert_close(gate(features, signal), kept * features)
        assert torch.isfinite(network(grey)).all()


def paper_size(name, dims, **channels):
    # Without memory: only the shapes count.
    with init_empty_weights():
        return build_network(name, dims=dims, **channels, **NETWORKS[name].paper_size)


def test_segnet_has_the_parameters_that_its_paper_tells():
    assert count_parameters(SegNet(n_phases=1)) == 331_137
    # Each further output has its filter of 64 · 9 numbers and its bias.
    assert count_parameters(paper_size("segnet", 2)) == 331_137 + 577


@pytest.mark.parametrize(("layers", "published"), [(50, 25_028_904), (101, 44_177_704)])
def test_resnext_encoder_has_the_parameters_of_the_published_32x4d(layers, published):
    with init_empty_weights():
        network = ResNeXtUNet(in_channels=3, width=64, layers=layers)
    classifier = 2048 * 1000 + 1000
    assert count_parameters(network.stem) + count_parameters(network.stages) == published - classifier


def test_unet3plus_has_the_26_97_million_parameters_of_its_paper():
    with init_empty_weights():
        network = UNet3Plus(in_channels=3, n_phases=1, **NETWORKS["unet3plus"].paper_size)
    taught_beside = count_parameters(network.exits) - count_parameters(network.exits[0])
    assert round((count_parameters(network) - taught_beside) / 1e6, 2) == 26.97


@pytest.mark.parametrize("dims", [2, 3])
def test_attention_network_is_a_unet_and_its_gates(dims):
    with init_empty_weights():
        plain = UNet(dims=dims, **NETWORKS["attention-unet"].paper_size)
    widths = [64, 128, 256, 512, 1024]
    # W_x of side 2 without bias, W_g and ψ of side 1 with one.
    gates = sum(2**dims * a * a + (a * b + a) + (a + 1) for a, b in itertools.pairwise(widths))
    assert count_parameters(paper_size("attention-unet", dims)) == count_parameters(plain) + gates


def test_vnet_has_the_parameters_of_its_formula():
    def unit(a, b, voxels=5**3):
        return voxels * a * b + b + 2 * b + b  # filter, bias, batch norm, PReLU

    down = sum(unit(a, 2 * a, 8) + n * unit(2 * a, 2 * a) for a, n in ((16, 2), (32, 3), (64, 3), (128, 3)))
    up = sum(
        unit(c, a, 8) + n * unit(2 * a, 2 * a) for c, a, n in ((256, 128, 3), (256, 64, 3), (128, 32, 2), (64, 16, 1))
    )
    assert count_parameters(paper_size("vnet", 3)) == unit(1, 16) + down + up + (32 * 2 + 2) == 65_182_226


def test_swin_network_has_the_parameters_of_the_published_swin_unetr():
    with init_empty_weights():
        network = build_network("swin-unet", dims=3, in_channels=4, n_phases=3, width=48, window=7)
    # Its instance norms have none.
    norms = sum(count_parameters(module) for module in network.modules() if isinstance(module, nn.BatchNorm3d))
    assert count_parameters(network) - norms == 62_191_941


def test_registry_says_which_paper_has_which_network():
    assert set(SMALL) == set(NETWORKS)
    papers = {paper for entry in NETWORKS.values() for paper in entry.papers}
    assert papers == {"reproducible_3d_segmentation", "pore_segnet", "utile_pore", "utile_redox"}
    for entry in NETWORKS.values():
        assert set(entry.paper_size) <= set(entry.sizes)
        assert set(entry.dims) <= {2, 3}


@pytest.mark.parametrize(
    ("name", "keywords", "sentence"),
    [
        ("u-net", {"dims": 2}, "there is no network 'u-net'; give one of unet, segnet, vnet"),
        ("segnet", {"dims": 3}, "dims is 3; 'segnet' exists in 2 dimensions"),
        ("vnet", {"dims": 2}, "dims is 2; 'vnet' exists in 3 dimensions"),
        ("unet", {"dims": 1}, "dims is 1; 'unet' exists in 2 and 3 dimensions"),
        ("segnet", {"dims": 2, "depth": 3}, "'segnet' has no size 'depth'; it has width"),
        ("unet", {"dims": 2, "n_phases": 1}, "n_phases is 1; give 2 or more"),
        ("unet", {"dims": 2, "n_phases": 2.0}, "n_phases is 2.0; give a whole number"),
        ("unet", {"dims": 2, "in_channels": 0}, "in_channels is 0; give a whole number, 1 or more"),
        ("unet", {"dims": 2, "width": 0}, "width is 0; give a whole number"),
        ("attention-unet", {"dims": 2, "depth": True}, "depth is True; give a whole number"),
        ("unet3plus", {"dims": 2, "depth": math.nan}, "depth is nan; give a whole number"),
        ("vnet", {"dims": 3, "depth": 5}, "depth is 5; the V-Net has 1 to 4 halvings"),
        ("vnet", {"dims": 3, "kernel": 4}, "kernel is 4; give an odd side"),
        ("resnext-unet", {"dims": 2, "layers": 34}, "layers is 34; give 26, 50 or 101"),
        ("resnext-unet", {"dims": 2, "width": 18}, "width is 18; give a multiple of 4"),
        ("resnext-unet", {"dims": 2, "width": 8}, "cardinality is 32, which does not divide 2 · width = 16"),
        ("swin-unet", {"dims": 2, "width": 16}, "width is 16; give a multiple of 12"),
        ("swin-unet", {"dims": 2, "window": 1}, "window is 1; give 2 or more"),
    ],
)
def test_what_cannot_be_built_is_refused(name, keywords, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        build_network(name, **keywords)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((1, 3, 16, 18), "the input's sides are (16, 18); this network takes multiples of {}"),
        ((1, 3, 0, 32), "the input's sides are (0, 32)"),
        ((1, 2, 32, 32), "the input has 2 channels; this network takes 3"),
        ((1, 3, 32, 32, 32), "this 2-D network takes (B, C, Y, X)"),
    ],
)
@pytest.mark.parametrize("name", [name for name, dims in EVERY if dims == 2])
def test_what_cannot_be_looked_at_is_refused(name, shape, sentence):
    network = seasoned(name, 2)
    with pytest.raises(ValueError, match=re.escape(sentence.format(network.factor))):
        network(torch.zeros(shape))


def spoil(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"_class_name": "Denoiser"}, "its class is 'Denoiser', not one of UNet, SegNet"),
        ({"width": 5}, "shape in current model is torch.Size([5, 3, 3, 3])); save or train it again"),
        ({"depth": 3}, "cannot be loaded"),
        ({"depth": 1}, "cannot be loaded"),
        ({"depth": "deep"}, "depth is 'deep'; give a whole number"),
    ],
)
def test_damaged_network_is_refused(tmp_path, changes, sentence):
    seasoned("unet", 2).save_pretrained(tmp_path)
    spoil(tmp_path, **changes)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        load_network(tmp_path)


def test_folder_without_network_or_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no network in"):
        load_network(tmp_path)
    seasoned("unet", 2).save_pretrained(tmp_path)
    next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_network(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_network(tmp_path)
