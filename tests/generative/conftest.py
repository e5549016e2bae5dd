import dataclasses

import numpy as np
import pytest
import torch

import volume
from generative.configuration import (
    LONG_TRAINING,
    DDPMConfig,
    DenoiserConfig,
    MaterialConfig,
    PatchConfig,
    SamplingConfig,
)
from generative.denoiser import Denoiser
from generative.loading import ModelCard
from generative.noise_schedule import cosine_schedule
from generative.pipeline import StructurePipeline


@pytest.fixture
def wild_denoiser():
    """Give a small network whose weights are all random, so that nothing in it is silent."""

    def build(n_phases=2, **size):
        torch.manual_seed(0)
        settings = {"channels": (8, 16), "blocks_per_level": 1, "attention_heads": 2} | size
        denoiser = Denoiser(n_phases=n_phases, **settings)
        for parameter in denoiser.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        return denoiser.eval()

    return build


@pytest.fixture
def wild_pipe(wild_denoiser):
    def build(n_phases=2, prediction="v_prediction", patch=(4, 4, 4), **size):
        card = ModelCard("diffusion", tuple(f"phase {i}" for i in range(n_phases)), patch=patch)
        return StructurePipeline(wild_denoiser(n_phases, **size), cosine_schedule(prediction=prediction), card=card)

    return build


@pytest.fixture
def two_phases():
    """Smooth blobs of two phases, (12, 12, 12)."""
    rng = np.random.default_rng(3)
    field = rng.standard_normal((12, 12, 12))
    for axis in range(3):
        field = field + np.roll(field, 1, axis) + np.roll(field, 2, axis)
    return (field > 0).astype(np.uint8)


@pytest.fixture
def tiny_config(tmp_path, two_phases):
    """Configure a run of six steps on 8³ patches of a file."""

    def build(labels=two_phases, out="run", seed=5, patches=None, **training):
        path = tmp_path / "labels.npy"
        volume.write(path, volume.Volume(labels))
        settings = {"steps": 6, "batch_size": 2, "warmup_steps": 2, "checkpoint_every": 2, "log_every": 1}
        return DDPMConfig(
            material=MaterialConfig(volume=path),
            out=tmp_path / out,
            seed=seed,
            patches=patches or PatchConfig(size=(8, 8, 8), stride=2, symmetry="cubic"),
            denoiser=DenoiserConfig(channels=(8, 16), blocks_per_level=1, attention_heads=2),
            training=dataclasses.replace(LONG_TRAINING, **(settings | training)),
            sampling=SamplingConfig(count=2, steps=3),
        )

    return build
