import numpy as np
import pytest
import torch

import generative
from generative.pipeline import StructurePipeline
from generative.scheduling import make_scheduler


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon", "sample"])
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_estimates_stay_finite_from_one_step_on(wild_pipe, kind, sampler, steps):
    scores = wild_pipe(3, kind).scores((4, 4, 4), index=0, steps=steps, seed=0, sampler=sampler)
    assert scores.shape == (3, 4, 4, 4)
    assert np.isfinite(scores).all()


def test_estimates_stay_finite_over_the_whole_schedule(wild_pipe):
    pipe = wild_pipe(2, "epsilon", channels=(8,))
    for sampler in ("ddim", "ddpm"):
        assert np.isfinite(pipe.scores((2, 2, 2), index=0, steps=1000, seed=0, sampler=sampler)).all()


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_sample_is_the_same_in_a_batch_of_one_and_of_four(wild_pipe, sampler):
    pipe = wild_pipe(3)
    together = pipe((8, 4, 6), count=4, steps=4, seed=9, sampler=sampler)
    alone = [pipe((8, 4, 6), steps=4, seed=9, first=i, sampler=sampler)[0] for i in range(4)]
    assert np.array_equal(together, alone)
    assert len({sample.tobytes() for sample in together}) == 4
    assert not np.array_equal(together, pipe((8, 4, 6), count=4, steps=4, seed=10, sampler=sampler))


class KnowsTheAnswer(torch.nn.Module):
    """Predict x0 = the same volume, whatever the noise."""

    def __init__(self, clean, factor=2):
        super().__init__()
        self.clean, self.factor = clean, factor
        self.config, self.device = {"n_phases": clean.shape[0]}, torch.device("cpu")

    def forward(self, x, t):
        return self.clean[None].expand_as(x)

    def set_boundary(self, boundary):
        self.boundary = boundary


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("steps", [1, 2, 25])
def test_perfect_denoiser_gives_exactly_its_volume(sampler, steps):
    labels = np.random.default_rng(0).integers(3, size=(4, 6, 8)).astype(np.uint8)
    clean = torch.from_numpy(generative.signed_one_hot(labels, 3))
    scheduler = make_scheduler(prediction_type="sample")
    pipe = StructurePipeline(KnowsTheAnswer(clean), scheduler, phases=("a", "b", "c"))
    made = pipe((4, 6, 8), count=2, steps=steps, sampler=sampler)
    assert made.dtype == np.uint8
    assert np.array_equal(made, [labels, labels])


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_best_denoiser_of_gaussian_data_gives_data_of_the_right_spread(sampler):
    """For x0 ~ N(0, s²) the best estimate of x0 is known, and so is the law of what sampling must give."""
    spread, scheduler = 0.2, make_scheduler(prediction_type="sample")

    class Best(KnowsTheAnswer):
        def forward(self, x, t):
            a = scheduler.alphas_cumprod[t].reshape(-1, 1, 1, 1, 1)
            return a.sqrt() * spread**2 / (a * spread**2 + 1 - a) * x

    pipe = StructurePipeline(Best(torch.zeros(2, 1, 1, 1)), scheduler, phases=("a", "b"))
    scores = pipe.scores((16, 16, 16), index=0, steps=200, seed=0, sampler=sampler)
    assert float(scores.std()) == pytest.approx(spread, rel=0.04)
    assert float(scores.mean()) == pytest.approx(0, abs=4 * spread / np.sqrt(scores.size))


def test_lengths_that_the_network_cannot_take_are_made_larger_and_cut(wild_pipe):
    pipe = wild_pipe(2, channels=(8, 16))
    assert np.array_equal(pipe((5, 3, 8), steps=2), pipe((6, 4, 8), steps=2)[:, :5, :3])
    with pytest.raises(ValueError, match="periodic volume needs lengths that are multiples of 2"):
        pipe((5, 4, 8), periodic=True)


def test_periodic_volume_is_the_translated_one_of_translated_noise(wild_pipe, monkeypatch):
    pipe = wild_pipe(2, channels=(8,))
    straight = pipe((4, 4, 8), steps=5, periodic=True)
    noise = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *a, **k: noise(*a, **k).roll(3, -1))
    rolled = pipe((4, 4, 8), steps=5, periodic=True)
    assert np.mean(rolled != np.roll(straight, 3, axis=-1)) < 0.01
    assert np.mean(pipe((4, 4, 8), steps=5) != np.roll(straight, 3, axis=-1)) > 0.01


def test_fractions_are_exact_in_every_sample(wild_pipe):
    made = wild_pipe(3)((8, 8, 8), count=2, steps=2, fractions=(0.5, 0.25, 0.25))
    assert [np.bincount(m.ravel()).tolist() for m in made] == [[256, 128, 128]] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (8, 8)}, "three positive lengths"),
        ({"shape": (8, 0, 8)}, "three positive lengths"),
        ({}, "three positive lengths"),
        ({"steps": 0}, "between 1 and 1000"),
        ({"steps": 1001}, "between 1 and 1000"),
        ({"count": 0}, "at least 1"),
        ({"seed": -1}, "negative"),
        ({"fractions": (0.6, 0.6)}, "add up to 1.2"),
        ({"fractions": (0.2, 0.3, 0.5)}, "2 phases"),
        ({"sampler": "heun"}, "'ddim' or 'ddpm'"),
    ],
)
def test_bad_arguments_are_refused(wild_pipe, arguments, message):
    if arguments and "shape" not in arguments:
        arguments = {"shape": (4, 4, 4)} | arguments
    with pytest.raises(ValueError, match=message):
        wild_pipe()(**arguments)


def test_saved_pipeline_loads_and_makes_the_same(tmp_path, wild_denoiser):
    pipe = StructurePipeline(
        wild_denoiser(3), make_scheduler(), phases=("pore", "GDC", "LSCF"), voxel_size_um=(1, 2, 3), patch=(4, 4, 8)
    )
    pipe.save_pretrained(tmp_path / "model")
    again = generative.load(tmp_path / "model", device="cpu")
    assert (again.phases, again.voxel_size_um, again.patch) == (("pore", "GDC", "LSCF"), (1, 2, 3), (4, 4, 8))
    assert np.array_equal(again(steps=3, seed=2), pipe((4, 4, 8), steps=3, seed=2))
    settings = {"index": 0, "steps": 3, "seed": 2}
    assert np.array_equal(again.scores((4, 4, 8), **settings), pipe.scores((4, 4, 8), **settings))


def test_unknown_name_and_empty_folder_say_what_is_accepted(tmp_path):
    with pytest.raises(ValueError, match=r"no model 'sofc-four-phase'; shipped: .*folder of a training run"):
        generative.load("sofc-four-phase")
    with pytest.raises(ValueError, match="neither a model nor a complete checkpoint"):
        generative.load(tmp_path)


def test_broken_weights_are_refused(tmp_path, wild_pipe):
    pipe = wild_pipe()
    pipe.save_pretrained(tmp_path)
    weights = next(tmp_path.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(ValueError, match="does not hold a complete model"):
        generative.load(tmp_path)
    torch.nn.init.constant_(pipe.denoiser.head[-1].bias, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        pipe((4, 4, 4), steps=2)
