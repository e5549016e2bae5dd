import pytest
import torch

from segment import Segmenter
from segment.networks import UNet
from synth.production import CorpusConfig, produce_corpus


@pytest.fixture
def wild_network():
    """Give a small untrained network whose answers vary widely from voxel to voxel."""

    def build(**size):
        torch.manual_seed(0)
        network = UNet(**({"width": 8, "depth": 1} | size))
        torch.nn.init.normal_(network.exit.weight, std=2)
        network.eval()
        noise = torch.rand(2, network.config.in_channels, *(16,) * network.config.dims)
        with torch.no_grad():
            # Without this one phase might win everywhere.
            network.exit.bias -= network(noise).movedim(1, -1).flatten(0, -2).mean(0)
        return network

    return build


@pytest.fixture
def wild_segmenter(wild_network):
    """Both stages untrained: its labels mean nothing, but they depend on every weight and every voxel."""

    def build(errors=(), phases=("pore", "solid")):
        n = len(phases)
        refine = wild_network(dims=3, in_channels=n + 1, n_phases=n, refines=True)
        return Segmenter(wild_network(n_phases=n), refine, phases, errors)

    return build


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Four labelled 32³ volumes of sphere packs under a clear microscope."""
    folder = tmp_path_factory.mktemp("segment") / "corpus"
    recipe = {
        "generator": "sphere_pack",
        "shape": [32, 32, 32],
        "porosity": {"uniform": [0.4, 0.6]},
        "diameter_vox": 12,
    }
    clear = {"dose": 2000, "read_noise": 0.0, "blur_vox": 0.4, "shine_through": 0.5}
    produce_corpus(CorpusConfig(recipe, {"instrument": "fibsem", "settings": clear}, count=4, seed=5), folder)
    return folder
