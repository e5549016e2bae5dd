import numpy as np
import pytest
import torch

import generative
from generative.coding import encode
from generative.loading import ModelCard
from generative.noise_schedule import cosine_schedule
from generative.pipeline import StructurePipeline, WalkSettings
from generative.requests import check_request
from generative.walks import make_walk

SAMPLERS = ["dpm++", "ddim", "ddpm"]


def scores(pipe, shape, *, steps, sampler="dpm++", seed=0, **settings):
    request = check_request(shape, default=None, n_phases=len(pipe.phases), seed=seed)
    walk = make_walk(pipe.schedule, sampler=sampler, steps=steps)
    return pipe.scores(request, walk, index=0, settings=WalkSettings(**settings))


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon", "sample"])
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 10, 50])
def test_estimates_stay_finite_from_one_step_on(wild_pipe, kind, sampler, steps):
    made = scores(wild_pipe(3, kind), (4, 4, 4), steps=steps, sampler=sampler)
    assert made.shape == (3, 4, 4, 4)
    assert np.isfinite(made).all()


def test_estimates_stay_finite_over_the_whole_schedule(wild_pipe):
    pipe = wild_pipe(2, "epsilon", channels=(8,), attention_levels=0, patch=(2, 2, 2))
    for sampler, steps in (("ddpm", 1000), ("dpm++", 300), ("ddim", 300)):
        assert np.isfinite(scores(pipe, (2, 2, 2), steps=steps, sampler=sampler)).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sample_is_the_same_in_a_batch_of_one_and_of_four(wild_pipe, sampler):
    pipe, settings = wild_pipe(3), WalkSettings(sampler=sampler)
    together = pipe((6, 4, 6), count=4, steps=4, seed=9, settings=settings)
    alone = [pipe((6, 4, 6), steps=4, seed=9, first=i, settings=settings)[0] for i in range(4)]
    assert np.array_equal(together, alone)
    assert len({sample.tobytes() for sample in together}) == 4
    assert not np.array_equal(together, pipe((6, 4, 6), count=4, steps=4, seed=10, settings=settings))


@pytest.mark.parametrize("n_phases", [2, 3, 4])
def test_volumes_of_any_shape_and_number_of_phases_can_be_made(wild_pipe, n_phases):
    pipe = wild_pipe(n_phases)
    for shape in ((1, 1, 1), (3, 4, 5), (4, 9, 6)):
        made = pipe(shape, count=2, steps=2)
        assert made.shape == (2, *shape)
        assert made.max() < n_phases


class KnowsTheAnswer(torch.nn.Module):
    """Predict x0 = the same volume, whatever the noise."""

    def __init__(self, clean):
        super().__init__()
        self.clean = clean
        self.config, self.device = {"n_phases": clean.shape[0], "conditions": 0}, torch.device("cpu")

    def forward(self, x, t):
        return self.clean[None].expand_as(x)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 25])
def test_perfect_denoiser_gives_exactly_its_volume(sampler, steps):
    labels = np.random.default_rng(0).integers(3, size=(4, 6, 8)).astype(np.uint8)
    card = ModelCard("diffusion", ("a", "b", "c"), patch=(4, 6, 8))
    denoiser = KnowsTheAnswer(torch.from_numpy(encode(labels, 3)))
    pipe = StructurePipeline(denoiser, cosine_schedule(prediction="sample"), card=card)
    made = pipe(count=2, steps=steps, settings=WalkSettings(sampler=sampler))
    assert made.dtype == np.uint8
    assert np.array_equal(made, [labels, labels])


class ToldFractions(KnowsTheAnswer):
    """Predict the fractions it is told, or zero."""

    def __init__(self):
        super().__init__(torch.zeros(2, 1, 1, 1))
        self.config["conditions"] = 2

    def forward(self, x, t, fractions=None):
        told = torch.zeros(len(x), 2) if fractions is None else fractions
        return told[:, :, None, None, None].expand_as(x)


@pytest.mark.parametrize(("scale", "expected"), [(0.0, 0.0), (1.0, 0.25), (2.0, 0.5)])
def test_guidance_exaggerates_what_being_told_changes(scale, expected):
    card = ModelCard("diffusion", ("a", "b"), patch=(2, 2, 2))
    pipe = StructurePipeline(ToldFractions(), cosine_schedule(prediction="sample"), card=card)
    estimate = pipe.estimator(fractions=(0.25, 0.75), settings=WalkSettings(guidance_scale=scale), last=0)
    assert estimate(torch.zeros(1, 2, 2, 2, 2), 0)[0, 0, 0, 0, 0] == pytest.approx(expected)
    assert pipe.estimator(last=0)(torch.zeros(1, 2, 2, 2, 2), 0).abs().max() == 0


def test_estimates_are_clipped_at_every_step_but_the_last():
    denoiser = KnowsTheAnswer(torch.full((2, 2, 2, 2), 1.7))
    card = ModelCard("diffusion", ("a", "b"), patch=(2, 2, 2))
    estimate = StructurePipeline(denoiser, cosine_schedule(prediction="sample"), card=card).estimator(last=3)
    assert float(estimate(torch.zeros(1, 2, 2, 2, 2), 900).max()) == 1.0
    assert float(estimate(torch.zeros(1, 2, 2, 2, 2), 3).max()) == pytest.approx(1.7)


def test_volume_larger_than_the_patch_is_the_same_for_any_windows_at_once(wild_pipe):
    """The network rounds differently in a larger batch; nothing else may change."""
    pipe = wild_pipe(2)
    one, four = (scores(pipe, (6, 8, 7), steps=3, windows_at_once=n) for n in (1, 4))
    assert one == pytest.approx(four, abs=1e-4)


def test_larger_volume_begins_with_the_same_noise(wild_pipe):
    pipe = wild_pipe(2)
    small, large = scores(pipe, (4, 4, 4), steps=1), scores(pipe, (4, 4, 16), steps=1, overlap=0)
    assert np.array_equal(small, large[..., :4])


def test_periodic_volume_fits_at_its_faces(wild_denoiser):
    """A network that smooths makes neighbours alike, across the faces as well if the volume is periodic."""

    class Smooths(KnowsTheAnswer):
        def forward(self, x, t):
            wide = torch.nn.functional.pad(x, (1, 1, 1, 1, 1, 1), mode="replicate")
            return torch.nn.functional.avg_pool3d(wide, 3, stride=1) * 1.5

    card = ModelCard("diffusion", ("a", "b"), patch=(12, 12, 12))
    pipe = StructurePipeline(Smooths(torch.zeros(2, 1, 1, 1)), cosine_schedule(prediction="sample"), card=card)

    def step_across(made):
        return np.mean(made[:, 0] != made[:, -1]) / np.mean(made[:, :-1] != made[:, 1:])

    free, periodic = (pipe((24, 24, 24), steps=10, periodic=p) for p in (False, True))
    assert step_across(periodic) < 1.5
    assert step_across(free) > 2


def test_fractions_are_exact_in_every_sample(wild_pipe):
    made = wild_pipe(3, patch=(8, 8, 8))(count=2, steps=2, fractions=(0.5, 0.25, 0.25))
    assert [np.bincount(m.ravel()).tolist() for m in made] == [[256, 128, 128]] * 2


def test_calibrated_pipeline_has_the_fractions_of_its_material_in_the_mean(wild_pipe):
    pipe = wild_pipe(3, patch=(8, 8, 8))
    wanted = np.array([0.5, 0.2, 0.3])
    calibrated = pipe.calibrated(wanted, count=4, steps=3, seed=1)
    made = calibrated(count=4, steps=3, seed=1)
    shares = np.bincount(made.ravel(), minlength=3) / made.size
    assert shares == pytest.approx(wanted, abs=5e-3)
    assert abs(np.bincount(pipe(count=4, steps=3, seed=1).ravel(), minlength=3) / made.size - wanted).max() > 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (8, 8)}, "give three whole lengths"),
        ({"shape": (8, 0, 8)}, "give three whole lengths"),
        ({"shape": (8, 8, 2.5)}, "give three whole lengths"),
        ({"shape": "888"}, "give three whole lengths"),
        ({"steps": 0}, "between 1 and 1000"),
        ({"steps": 1001}, "between 1 and 1000"),
        ({"count": 0}, "count is 0; give a whole number of at least 1"),
        ({"count": True}, "count is True"),
        ({"seed": -1}, "seed is -1; give a whole number of at least 0"),
        ({"fractions": (0.6, 0.6)}, "add up to 1.2"),
        ({"fractions": (0.2, 0.3, 0.5)}, "2 phases"),
    ],
)
def test_bad_arguments_are_refused(wild_pipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        wild_pipe()(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "heun"}, "'ddim' or 'ddpm'"),
        ({"overlap": -1}, "overlap is -1"),
        ({"windows_at_once": 0}, "windows_at_once is 0"),
        ({"guidance_scale": -1.0}, "guidance_scale is -1.0"),
        ({"precision": "fp8"}, "give 'no', 'bf16' or 'fp16'"),
    ],
)
def test_bad_settings_are_refused(wild_pipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        wild_pipe()((4, 4, 4), settings=WalkSettings(**arguments))


def test_saved_pipeline_loads_and_makes_the_same(tmp_path, wild_denoiser):
    card = ModelCard("diffusion", ("pore", "GDC", "LSCF"), (1.0, 2.0, 3.0), (4, 4, 8), {"offsets": [0.0, 0.1, -0.1]})
    schedule = cosine_schedule(timesteps=500, noise_scale=3.0, prediction="sample")
    pipe = StructurePipeline(wild_denoiser(3), schedule, card=card)
    pipe.save_pretrained(tmp_path / "model")
    again = generative.load(tmp_path / "model", device="cpu")
    assert (again.phases, again.voxel_size_um, again.patch) == (("pore", "GDC", "LSCF"), (1, 2, 3), (4, 4, 8))
    assert (len(again.schedule), again.schedule.prediction) == (500, "sample")
    assert np.array_equal(again.schedule.noise, schedule.noise)
    assert np.array_equal(again(steps=3, seed=2), pipe((4, 4, 8), steps=3, seed=2))
    assert np.array_equal(scores(again, (4, 4, 8), steps=3), scores(pipe, (4, 4, 8), steps=3))
    assert sorted(p.suffix for p in (tmp_path / "model").iterdir()) == [".json", ".json", ".safetensors"]


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


def test_model_of_an_unknown_kind_is_refused(tmp_path, wild_pipe):
    wild_pipe().save_pretrained(tmp_path)
    card = tmp_path / "material.json"
    card.write_text(card.read_text().replace('"diffusion"', '"flow"'))
    with pytest.raises(ValueError, match="a model of the kind 'flow'; known are diffusion"):
        generative.load(tmp_path)
