import itertools
import threading
import time
import tracemalloc

import numpy as np
import pytest
import torch

from generative.noise_schedule import cosine_schedule
from generative.position_noise import PositionNoise
from generative.walking import walk_windows
from generative.walks import Walk, make_walk
from generative.windows import lay_windows

SCHEDULE = cosine_schedule(timesteps=50)
# Deep enough for planes to be finished, and the ring of sums to be used again, long before the last window.
DEEP = {"shape": (90, 7, 5), "window": (24, 4, 5), "overlap": (7, 2, 0)}
LAYOUTS = [
    DEEP,
    DEEP | {"periodic": True},
    {"shape": (9, 8, 10), "window": (8, 8, 8), "overlap": 5},
    {"shape": (9, 8, 10), "window": (8, 8, 8), "overlap": 5, "periodic": True},
    {"shape": (3, 20, 8), "window": (8, 8, 8), "overlap": 0},
    {"shape": (3, 20, 8), "window": (8, 8, 8), "overlap": 2, "periodic": True},
    {"shape": (8, 8, 8), "window": (8, 8, 8), "overlap": 2},
]


def walk_of(estimate, walk, *, seed=1, channels=2, **arguments):
    return walk_windows(estimate, walk, channels=channels, noise=PositionNoise(seed, channels), **arguments)


def one_step():
    return make_walk(SCHEDULE, steps=1)


def context(x, timestep, corners):
    """Something of which each value depends on the whole window, its place and the time."""
    places = torch.tensor(corners, dtype=torch.float32).sum(1).reshape(-1, 1, 1, 1, 1)
    sums = x.cumsum(2) - x.flip(3).cumsum(4) + x.mean((1, 2, 3, 4), keepdim=True)
    return torch.tanh(0.3 * sums + 0.01 * places + 0.02 * timestep)


def by_hand(estimate, walk, *, seed=1, channels=2, shape, window, overlap, periodic=False):
    """Carry the same walk out with whole arrays, fancy indices and one voxel list a window."""
    noise = PositionNoise(seed, channels)
    layout = lay_windows(shape, size=window, overlap=overlap, periodic=periodic)
    x = noise.read(0, (0, 0, 0), layout.shape).astype(np.float64)
    blended = before = np.zeros_like(x)
    for step in range(len(walk)):
        before, blended = blended, np.zeros_like(x)
        for corner in itertools.product(*layout.starts):
            where = np.ix_(
                range(channels), *((c + np.arange(n)) % w for c, n, w in zip(corner, window, layout.shape, strict=True))
            )
            found = estimate(torch.from_numpy(x[where]).float()[None], int(walk.timesteps[step]), [corner])[0].numpy()
            np.add.at(blended, where, layout.weight(corner).astype(np.float64) * found)
        x = walk.keep[step] * x + walk.estimate[step] * blended + walk.memory[step] * before
        x = x + walk.noise[step] * noise.read(step + 1, (0, 0, 0), layout.shape)
    return blended[:, : shape[0], : shape[1], : shape[2]]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sampler", ["ddpm", "dpm++"])
def test_walk_is_that_of_whole_arrays(layout, sampler):
    walk = make_walk(SCHEDULE, sampler=sampler, steps=3)
    # Both round x to float32 before each estimate; sums of up to 64 such values follow.
    np.testing.assert_allclose(walk_of(context, walk, **layout), by_hand(context, walk, **layout), atol=2e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_estimate_of_x_plus_one_gives_the_first_noise_plus_one(layout):
    found = walk_of(lambda x, t, corners: x + 1, one_step(), **layout)
    start = PositionNoise(1, 2).read(0, (0, 0, 0), layout["shape"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, start + 1, atol=3e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_estimates_that_tell_their_position_give_positions(layout):
    shape = lay_windows(
        layout["shape"], size=layout["window"], overlap=layout["overlap"], periodic=layout.get("periodic", False)
    ).shape

    def positions(x, _, corners):
        for window, corner in zip(x, corners, strict=True):
            axes = [(c + torch.arange(n)) % w for c, n, w in zip(corner, window.shape[1:], shape, strict=True)]
            window[:] = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        return x

    found = walk_of(positions, make_walk(SCHEDULE, steps=2), channels=3, **layout)
    np.testing.assert_allclose(found, np.indices(layout["shape"]), atol=90 * 5 * 2**-23)


def test_a_window_of_the_whole_volume_is_estimated_once_a_step_and_not_touched():
    calls, last = [], {}

    def estimate(x, timestep, corners):
        calls.append((timestep, list(corners)))
        last["x"] = torch.tanh(x) / 3
        return last["x"]

    walk = make_walk(SCHEDULE, steps=4)
    found = walk_of(estimate, walk, shape=(8, 5, 8), window=(8, 8, 8), overlap=4)
    assert calls == [(t, [(0, 0, 0)]) for t in walk.timesteps]
    assert np.array_equal(found, last["x"][0, :, :, :5].numpy())


@pytest.mark.parametrize("layout", LAYOUTS[:4])
@pytest.mark.parametrize("sampler", ["ddpm", "dpm++"])
def test_disk_memory_batches_and_devices_give_the_same_bytes(layout, sampler, tmp_path):
    walk = make_walk(SCHEDULE, sampler=sampler, steps=3)
    rng = np.random.default_rng(0)
    lock = threading.Lock()

    def tardy(x, timestep, corners):
        with lock:
            pause = rng.uniform(0, 0.002)
        time.sleep(pause)
        return one_by_one(x, timestep, corners)

    def one_by_one(x, timestep, corners):
        assert len(x) == len(corners)
        return torch.cat([context(x[i : i + 1], timestep, corners[i : i + 1]) for i in range(len(x))])

    expected = walk_of(one_by_one, walk, **layout)
    assert np.array_equal(walk_of(one_by_one, walk, **layout, batch=5), expected)
    assert np.array_equal(walk_of([tardy] * 3, walk, **layout, batch=2), expected)
    stored = walk_of([tardy] * 2, walk, **layout, store=tmp_path / "walk")
    assert stored.shape == expected.shape
    assert np.array_equal(stored, expected)
    assert np.array_equal(stored.read(1, 3), expected[:, 1:3])
    # Nothing is left but the settings and the result.
    assert len(list((tmp_path / "walk").iterdir())) == 2


def test_every_batch_has_the_same_size():
    sizes = set()

    def estimate(x, _, corners):
        sizes.add((len(x), len(corners)))
        return x

    walk_of(estimate, one_step(), **DEEP, batch=4)
    assert sizes == {(4, 4)}


@pytest.mark.parametrize("sampler", ["ddpm", "dpm++"])
def test_a_walk_killed_in_any_step_goes_on_to_the_same_bytes(sampler, tmp_path):
    walk, layout = make_walk(SCHEDULE, sampler=sampler, steps=4), DEEP | {"periodic": True}
    expected = walk_of(context, walk, **layout)
    windows = len(lay_windows(layout["shape"], size=layout["window"], overlap=layout["overlap"], periodic=True))
    calls = 0

    def dies_at(deadly):
        def estimate(x, timestep, corners):
            nonlocal calls
            calls += 1
            if calls == deadly:
                raise KeyboardInterrupt
            return context(x, timestep, corners)

        return estimate

    for step in range(4):
        calls = 0
        # Late in the first step that is left: with planes written already.
        with pytest.raises(KeyboardInterrupt):
            walk_of(dies_at(windows * (step > 0) + windows - 2), walk, **layout, store=tmp_path)
        assert list(tmp_path.glob("*.partial"))
        assert len(list(tmp_path.glob("state-*.f32"))) == 1
    calls = 0
    assert np.array_equal(walk_of(dies_at(-1), walk, **layout, store=tmp_path), expected)
    assert calls == windows
    assert np.array_equal(walk_of(dies_at(1), walk, **layout, store=tmp_path), expected)


def test_memory_does_not_grow_with_depth_on_disk(tmp_path):
    def peak(depth):
        tracemalloc.start()
        try:
            walk_of(
                lambda x, t, c: x / 2,
                make_walk(SCHEDULE, steps=3),
                shape=(depth, 32, 32),
                window=(16, 32, 32),
                overlap=(4, 0, 0),
                store=tmp_path / str(depth),
            )
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    shallow, deep = peak(64), peak(512)
    # The deeper volume's state alone is 4 MiB.
    assert deep < 1.02 * shallow + 2**14
    assert shallow < 10 * 16 * 32 * 32 * 2 * 4


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm++"])
@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_variance_for_gaussian_data_is_that_of_the_linear_recursion(sampler, spread):
    """White data of variance s² have the exact estimate E[x_0 | x_t] = √ᾱ s² x_t / (ᾱ s² + 1 − ᾱ)."""
    walk = make_walk(SCHEDULE, sampler=sampler, steps=6)
    signal, noise = SCHEDULE.signal[walk.timesteps], SCHEDULE.noise[walk.timesteps]
    gains = signal * spread**2 / (signal**2 * spread**2 + noise**2)
    # Covariance of (x, the estimate before), both linear in the noises.
    covariance = np.diag([1.0, 0.0])
    for i, gain in enumerate(gains):
        variance = gain**2 * covariance[0, 0]
        rows = np.array([[walk.keep[i] + walk.estimate[i] * gain, walk.memory[i]], [gain, 0]])
        covariance = rows @ covariance @ rows.T
        covariance[0, 0] += walk.noise[i] ** 2
    by_time = dict(zip(walk.timesteps.tolist(), gains.tolist(), strict=True))
    shape = (40, 40, 40)
    found = walk_of(lambda x, t, c: by_time[t] * x, walk, shape=shape, window=(24, 24, 24), overlap=8)
    # Independent voxels: a variance has the relative standard error √(2 / N).
    assert found.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / found.size))
    assert abs(found.mean()) < 4 * np.sqrt(variance / found.size)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stored", [False, True])
def test_known_values_come_back_exactly_and_are_seen_around(layout, stored, tmp_path):
    rng = np.random.default_rng(2)
    clean = rng.standard_normal((2, *layout["shape"])).astype(np.float32)
    mask = rng.random(layout["shape"]) < 0.3
    clean[:, ~mask] = np.nan
    walk = make_walk(SCHEDULE, steps=3)
    store = {"store": tmp_path / "walk"} if stored else {}
    found = np.asarray(walk_of(context, walk, **layout, known=(clean, mask), **store))
    assert np.array_equal(found[:, mask], clean[:, mask])
    free = walk_of(context, walk, **layout)
    assert np.isfinite(found).all()
    assert not np.allclose(found[:, ~mask], free[:, ~mask], atol=1e-3)


@pytest.mark.parametrize(("overlap", "seamless"), [(12, True), (0, False)])
def test_windows_that_overlap_leave_no_seam_in_a_correlated_field(overlap, seamless):
    """The exact estimate of a Gaussian field of correlation length 2, but one that takes each window for periodic."""
    window = (24, 16, 16)
    waves = np.meshgrid(*(2 * np.pi * np.fft.fftfreq(n) for n in window), indexing="ij")
    power = np.exp(-2 * np.sum(np.square(waves), axis=0))
    power = torch.from_numpy(power / power.mean())

    def wiener(x, timestep, corners):
        signal, noise = float(SCHEDULE.signal[timestep]), float(SCHEDULE.noise[timestep])
        gain = signal * power / (signal**2 * power + noise**2)
        return torch.fft.ifftn(torch.fft.fftn(x, dim=(2, 3, 4)) * gain, dim=(2, 3, 4)).real

    layout = {"shape": (72, 16, 16), "window": window, "overlap": (overlap, 0, 0)}
    found = walk_of(wiener, make_walk(SCHEDULE, steps=15), channels=12, **layout)
    jumps = np.square(np.diff(found, axis=1)).mean(axis=(0, 2, 3))
    starts = lay_windows(layout["shape"], size=window, overlap=layout["overlap"]).starts[0][1:]
    seams = np.concatenate([[start - 1, start + overlap - 1] for start in starts])
    # The faces see the estimator's own border.
    inside = np.delete(jumps[6:-6], seams - 6)
    off = np.abs(jumps[seams] - inside.mean()) / inside.std()
    assert off.max() < 4 if seamless else off.max() > 10


def test_a_larger_volume_starts_from_the_noise_of_a_smaller():
    layout = {"window": (8, 8, 8), "overlap": 2}
    small = walk_of(lambda x, t, c: x, one_step(), shape=(8, 8, 8), **layout)
    large = walk_of(lambda x, t, c: x, one_step(), shape=(20, 14, 9), **layout)
    np.testing.assert_allclose(large[:, :8, :8, :8], small, atol=3e-6)


class _Elsewhere(PositionNoise):
    """The same periodic noise, rolled."""

    def __init__(self, *arguments, shift, period):
        super().__init__(*arguments)
        self.shift, self.period = shift, period

    def read(self, step, origin, shape, *, period=None):
        return super().read(step, np.add(origin, self.shift), shape, period=self.period)


def test_rolled_noise_gives_the_rolled_volume_so_faces_of_periodic_volumes_are_nothing_special():
    layout = {"shape": (48, 12, 9), "window": (24, 8, 6), "overlap": (8, 4, 3), "periodic": True}
    shift = (16, 4, 3)  # a window further

    def placeless(x, timestep, corners):
        return context(x, timestep, [(0, 0, 0)] * len(corners))

    walk = make_walk(SCHEDULE, sampler="ddpm", steps=3)
    found = walk_of(placeless, walk, **layout)
    noise = _Elsewhere(1, 2, shift=shift, period=layout["shape"])
    rolled = walk_windows(placeless, walk, channels=2, noise=noise, **layout)
    # The order of a sum differs at the faces; steps of this estimator magnify its rounding.
    np.testing.assert_allclose(rolled, np.roll(found, [-n for n in shift], (1, 2, 3)), atol=2e-4)
    assert found.std() > 0.1


def test_gradients_are_off_unless_the_estimator_wants_them():
    seen = []

    def estimate(x, _, corners):
        seen.append(torch.is_grad_enabled())
        with torch.enable_grad():
            wanted = x.clone().requires_grad_()
            (slope,) = torch.autograd.grad((wanted**2).sum(), wanted)
        return slope / 2

    found = walk_of([estimate, estimate], one_step(), shape=(4, 4, 4), window=(4, 4, 4), overlap=0)
    assert seen == [False]
    assert np.array_equal(found, PositionNoise(1, 2).read(0, (0, 0, 0), (4, 4, 4)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimate": None}, "give a callable"),
        ({"estimate": []}, "give a callable"),
        ({"estimate": lambda x, t, c: x[:, :1]}, "the shapes must agree"),
        ({"estimate": lambda x, t, c: x * float("nan")}, "at time 49 is not finite"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": 1.5}, "batch is 1.5"),
        ({"channels": 3}, "channels is 3, but the noise has 2"),
        ({"shape": (4, 4)}, "shape is"),
        ({"shape": "abc"}, "shape is 'abc'"),
        ({"overlap": 4}, "smaller than the window"),
        ({"known": (np.zeros((2, 4, 4, 4)), np.zeros((4, 4, 4)))}, "a boolean"),
        ({"known": (np.zeros((1, 4, 4, 4)), np.zeros((4, 4, 4), bool))}, "this walk needs"),
        ({"known": (np.full((2, 4, 4, 4), np.inf), np.ones((4, 4, 4), bool))}, "known values are not finite"),
    ],
)
def test_walks_that_cannot_be_carried_out_are_refused(change, message):
    given = {"shape": (4, 4, 4), "window": (4, 4, 4), "overlap": 0, "channels": 2, "estimate": lambda x, t, c: x}
    given |= change
    with pytest.raises(ValueError, match=message):
        walk_windows(given.pop("estimate"), one_step(), noise=PositionNoise(0, 2), **given)


def test_folder_of_another_walk_or_of_a_damaged_one_is_refused(tmp_path):
    layout = {"shape": (4, 4, 4), "window": (4, 4, 4), "overlap": 0, "store": tmp_path}
    walk_of(context, one_step(), **layout)
    with pytest.raises(ValueError, match=r"walk of other settings \(seed\)"):
        walk_of(context, one_step(), **layout, seed=2)
    with pytest.raises(ValueError, match=r"walk of other settings \(timesteps\)"):
        walk_of(context, make_walk(SCHEDULE, steps=2), **layout)
    (state,) = tmp_path.glob("state-*.f32")
    state.write_bytes(state.read_bytes()[:-4])
    with pytest.raises(ValueError, match="has 508 bytes instead of 512"):
        walk_of(context, one_step(), **layout)
    (tmp_path / "walk.json").unlink()
    with pytest.raises(ValueError, match="without its settings"):
        walk_of(context, one_step(), **layout)


def test_a_walk_that_blows_up_ends_with_a_sentence():
    walk = Walk(np.array([9, 0]), np.array([1e38, 0]), np.ones(2), np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="not finite"), np.errstate(over="ignore"):
        walk_of(lambda x, t, c: x * 10, walk, shape=(4, 4, 4), window=(4, 4, 4), overlap=0)
