import json

import numpy as np
import pytest
import torch

import generative
import volume
from generative.coding import LabelCoding, encode
from generative.guidance import Guidance, measure_targets
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
        self.config, self.device = {"n_phases": clean.shape[0], "conditions": 0, "planar": False}, torch.device("cpu")

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
        ({"steps": "ten"}, "steps is 'ten'"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"shape": (10**7,) * 3}, "at most 2"),
        ({"fractions": "half"}, "give one number for each of the 2 phases"),
        ({"count": 10**12}, "memory ran out for 1000000000000 x"),
        ({"known": (np.zeros(3), np.ones(3))}, "known is of type tuple; give what known_region returns"),
        ({"guide": "s2"}, "guide is 's2'; give a generative"),
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
        ({"overlap": "two"}, "overlap is 'two'"),
        ({"repeats": 0}, "repeats is 0"),
        ({"guidance_scale": "strong"}, "guidance_scale is 'strong'"),
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


def test_half_the_file_keeps_eleven_bits_of_each_weight(tmp_path, wild_pipe):
    pipe = wild_pipe()
    for folder, half in (("whole", False), ("half", True)):
        pipe.save_pretrained(tmp_path / folder, half=half)
    sizes = [next((tmp_path / folder).glob("*.safetensors")).stat().st_size for folder in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    again = generative.load(tmp_path / "half", device="cpu").denoiser.state_dict()
    for name, weight in pipe.denoiser.state_dict().items():
        assert again[name].dtype == weight.dtype == torch.float32
        torch.testing.assert_close(again[name], weight, rtol=2**-11, atol=1e-7)


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


def test_weights_that_do_not_fill_the_network_are_refused(tmp_path, wild_pipe):
    wild_pipe(channels=(8,), attention_levels=0).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    text = config.read_text()
    for key, value in (("blocks_per_level", 2), ("conditions", 2), ("n_phases", 3)):
        config.write_text(json.dumps(json.loads(text) | {key: value}))
        with pytest.raises(ValueError, match=r"does not hold a complete model|are named, but"):
            generative.load(tmp_path, device="cpu")


def test_card_of_another_number_of_phases_is_refused_before_a_walk(wild_pipe):
    with pytest.raises(ValueError, match="3 offsets for 2 phases"):
        wild_pipe().with_settings(offsets=[0.0, 0.1, 0.2])


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_device_that_is_not_there_is_refused(tmp_path, wild_pipe, device):
    pipe = wild_pipe()
    pipe.save_pretrained(tmp_path)
    for ask in (lambda: generative.load(tmp_path, device=device), lambda: pipe.on_devices(["cpu", device])):
        with pytest.raises(ValueError, match=f"device '{device}' cannot be used"):
            ask()


def test_several_devices_make_the_same_volume_to_the_bit(wild_pipe):
    shape, steps = (6, 10, 9), 3
    alone = scores(wild_pipe(), shape, steps=steps)
    pipe = wild_pipe().on_devices(["cpu", "cpu"])
    assert np.array_equal(scores(pipe, shape, steps=steps), alone)
    assert np.array_equal(scores(pipe.with_settings(precision="no"), shape, steps=steps), alone)
    with pytest.raises(ValueError, match="give a list"):
        pipe.on_devices("cpu")


@pytest.mark.parametrize("words", ["CUDA out of memory. Tried", "DefaultCPUAllocator: can't allocate memory"])
def test_memory_that_runs_out_is_a_sentence_with_what_to_lower(words):
    class Greedy(KnowsTheAnswer):
        def forward(self, x, t):
            raise RuntimeError(words)

    card = ModelCard("diffusion", ("a", "b"), patch=(2, 2, 2))
    pipe = StructurePipeline(Greedy(torch.zeros(2, 1, 1, 1)), cosine_schedule(), card=card)
    with pytest.raises(ValueError, match=r"memory ran out for .* lower the shape or windows_at_once"):
        pipe(steps=1)


@pytest.mark.parametrize("through_network", [False, True])
def test_guide_leads_volumes_of_the_pipeline(wild_pipe, through_network):
    pipe = wild_pipe(patch=(8, 8, 8))
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[:, :, :1] = 1
    guide = Guidance(measure_targets(labels, 2, r_max=3), pipe.schedule, through_network=through_network, weight=2.0)
    free, led = pipe(steps=6), pipe(steps=6, guide=guide)
    assert not np.array_equal(free, led)
    if not through_network:
        assert abs(led.mean() - 1 / 8) < abs(free.mean() - 1 / 8)


@pytest.mark.parametrize("kind", ["one_hot", "distance"])
@pytest.mark.parametrize("repeats", [1, 2])
def test_known_region_stays_to_the_voxel_with_exact_fractions(wild_pipe, kind, repeats):
    pipe = wild_pipe(3, patch=(8, 8, 8)).with_settings(coding={"kind": kind, "width_vox": 2.0}, offsets=[0.0, 0.3, 0.0])
    rng = np.random.default_rng(1)
    labels, mask = rng.integers(3, size=(4, 5, 6)).astype(np.uint8), rng.random((4, 5, 6)) < 0.6
    known = pipe.known_region(labels, mask, shape=(8, 10, 9), corner=(2, 1, 3))
    ask = {"steps": 4, "known": known, "settings": WalkSettings(repeats=repeats, jump=2)}
    for fractions in (None, (0.5, 0.3, 0.2)):
        made = pipe((8, 10, 9), count=2, fractions=fractions, **ask)
        for one in made:
            assert np.array_equal(one[2:6, 1:6, 3:9][mask], labels[mask])
        assert not np.array_equal(made[0], made[1])
    assert [np.bincount(one.ravel()).tolist() for one in made] == [[360, 216, 144]] * 2
    with pytest.raises(ValueError, match=r"fractions ask for 0 voxels of phase 1, but the known region alone holds"):
        pipe((8, 10, 9), fractions=(0.8, 0.0, 0.2), **ask)
    with pytest.raises(ValueError, match="this walk needs"):
        pipe((8, 8, 8), **ask)


def test_region_is_coded_as_the_model_was_trained_or_as_said(wild_pipe):
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[2:] = 1
    with pytest.raises(ValueError, match="does not say how it codes labels"):
        wild_pipe().known_region(labels)
    coding = LabelCoding("distance", 2.0)
    told = wild_pipe().with_settings(coding={"kind": "distance", "width_vox": 2.0})
    one, two = told.known_region(labels), wild_pipe().known_region(labels, coding=coding)
    assert np.array_equal(one.clean.box, two.clean.box)
    assert np.array_equal(one.clean.box, encode(labels, 2, coding=coding))


def test_walk_on_disk_is_taken_up_by_the_same_weights_and_request_alone(tmp_path, wild_pipe, monkeypatch):
    """A stopped walk must not be mixed with other weights, fractions that are told, guides or known regions."""
    size = {"conditions": 2, "patch": (4, 4, 4)}
    pipe, path = wild_pipe(**size), tmp_path / "made.zarr"
    ask = {"shape": (4, 4, 4), "steps": 3, "fractions": (0.5, 0.5)}

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(StructurePipeline, "_decoded", stop)
        with pytest.raises(KeyboardInterrupt):
            pipe.write(path, **ask)
    other = wild_pipe(**size)
    torch.nn.init.constant_(other.denoiser.head[-1].bias, 0.1)
    known = pipe.known_region(np.zeros((1, 1, 1), np.uint8), shape=(4, 4, 4), coding=LabelCoding())
    changed = [
        (other, {}),
        (pipe, {"fractions": (0.25, 0.75)}),
        (pipe, {"settings": WalkSettings(guidance_scale=2.0)}),
        (pipe, {"settings": WalkSettings(precision="bf16")}),
        (pipe, {"known": known}),
        (pipe, {"guide": Guidance(measure_targets(np.eye(4, dtype=np.uint8)[None], 2, 1), pipe.schedule)}),
    ]
    for one, change in changed:
        with pytest.raises(ValueError, match=r"walk of other settings \(weights or request\)"):
            one.write(path, **(ask | change))
    with pytest.raises(ValueError, match="cannot be told from another of its kind"):
        pipe.write(path, **ask, guide=lambda estimate: estimate)
    wild_pipe(**size).write(path, **ask)
    assert np.array_equal(volume.read(path).array, pipe(**ask)[0])
    assert [p.name for p in tmp_path.iterdir()] == ["made.zarr"]


def test_walk_that_no_disk_holds_is_refused_before_anything_is_written(tmp_path, wild_pipe):
    with pytest.raises(ValueError, match="GB of disk"):
        wild_pipe().write(tmp_path / "new" / "a.zarr", (60000, 60000, 60000))
    assert not (tmp_path / "new").exists()
