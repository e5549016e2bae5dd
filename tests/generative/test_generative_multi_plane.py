"""Volumes from planes: on a Gaussian field each wave is scaled on its own, so that the result is known exactly."""

import math

import numpy as np
import pytest
import torch
from gaussian_oracle import squared_exponential

import volume
from generative.coding import encode
from generative.multi_plane import multi_plane, read_micrograph, voxel_estimate
from generative.noise_schedule import cosine_schedule
from generative.patches import LabelledPatches
from generative.walks import make_walk, with_resampling

SCHEDULE = cosine_schedule()
SIDE = 24
LENGTH = 3.0
POWER = torch.from_numpy(np.fft.fft2(squared_exponential((1, SIDE, SIDE), (1, LENGTH, LENGTH))[0]).real.clip(0))


def wiener_of_planes(x, timestep, corners):
    """Return the exact posterior mean of planes (normal to z) of a Gaussian field of variance 1."""
    signal, noise = SCHEDULE.signal[timestep], SCHEDULE.noise[timestep]
    gain = signal * POWER / (signal**2 * POWER + noise**2)
    return torch.fft.ifft2(torch.fft.fft2(x.double()) * gain).real


def wiener_of_voxels(x, timestep, corners):
    signal, noise = SCHEDULE.signal[timestep], SCHEDULE.noise[timestep]
    return x.double() * signal / (signal**2 + noise**2)


def correlation_after(walk, estimate):
    """Return the exact covariance, at each displacement, of what a linear estimator's walk makes."""
    delta = torch.zeros(1, 1, SIDE, SIDE, SIDE, dtype=torch.float64)
    delta[0, 0, 0, 0, 0] = 1
    xx, xb, bb = np.ones(delta.shape[2:]), np.zeros(delta.shape[2:]), np.zeros(delta.shape[2:])
    for time, keep, new, old, noise in zip(
        walk.timesteps, walk.keep, walk.estimate, walk.memory, walk.noise, strict=True
    ):
        gain = np.fft.fftn(estimate(delta, int(time), [(0, 0, 0)])[0, 0].numpy()).real
        own = keep + new * gain
        xx, xb, bb = (
            own**2 * xx + 2 * own * old * xb + old**2 * bb + noise**2,
            own * gain * xx + old * gain * xb,
            gain**2 * xx,
        )
    return np.fft.ifftn(xx).real


def worst(covariance):
    """Return the variance, and the largest error of the correlation along z, y, x and the diagonals, to 9 voxels."""
    found, r = covariance / covariance[0, 0, 0], np.arange(9)
    expected = np.exp(-((r / LENGTH) ** 2))
    errors = [np.abs(line - expected).max() for line in (found[r, 0, 0], found[0, r, 0], found[0, 0, r])]
    errors += [np.abs(found[r, r, 0] - expected**2).max(), np.abs(found[r, r, r] - expected**3).max()]
    return covariance[0, 0, 0], max(errors)


def test_evidence_of_a_half_for_each_set_of_planes_is_exact_for_a_separable_gaussian_field():
    estimate = multi_plane(wiener_of_planes, alone=wiener_of_voxels, evidence=1.5)
    errors = [
        worst(correlation_after(make_walk(SCHEDULE, sampler="dpm++", steps=steps), estimate)) for steps in (25, 50, 400)
    ]
    assert errors[2][0] == pytest.approx(1, abs=0.01)
    assert errors[2][1] < 0.005
    assert errors[0][1] > errors[1][1] > errors[2][1]


@pytest.mark.parametrize(("sampler", "evidence"), [("ddpm", 4 / 3), ("dpm++", 1.5)])
@pytest.mark.parametrize("alternate", [False, True])
def test_planes_with_evidence_keep_variance_and_correlation_that_planes_alone_lose(sampler, evidence, alternate):
    walk = make_walk(SCHEDULE, sampler=sampler, steps=50)
    times = walk.timesteps if alternate else None
    plain = worst(correlation_after(walk, multi_plane(wiener_of_planes, timesteps=times)))
    mended = multi_plane(wiener_of_planes, timesteps=times, alone=wiener_of_voxels, evidence=evidence)
    variance, error = worst(correlation_after(walk, mended))
    assert plain[0] < 0.4
    assert plain[1] > 0.1
    assert variance > 0.7
    assert error < 0.04


def test_harmonised_resampling_does_not_bring_the_lost_variance_back():
    walk = make_walk(SCHEDULE, sampler="ddpm", steps=50)
    estimate = multi_plane(wiener_of_planes)
    once = worst(correlation_after(walk, estimate))
    again = worst(correlation_after(with_resampling(walk, SCHEDULE, jump=5, repeats=5), estimate))
    assert again[1] < once[1]
    assert again[0] < once[0] < 0.4


def of_planes(x, timestep, corners):
    """Something that is neither linear nor symmetric in y and x, plane by plane; it may not see other volumes."""
    assert len(x) == len(corners) == 1
    return x * x.roll(1, dims=3) + 0.5 * x.cumsum(dim=4) + x.flip(1)


@pytest.mark.parametrize("planes_at_once", [1, 3, 100])
def test_planes_are_estimated_along_each_axis_and_averaged(planes_at_once):
    x = torch.randn(2, 3, 4, 6, 5, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for b in range(2):
        for i in range(4):
            expected[b, :, i] += of_planes(x[b : b + 1, :, i][:, :, None], 0, [0])[0, :, 0]
        for i in range(6):
            expected[b, :, :, i] += of_planes(x[b : b + 1, :, :, i][:, :, None], 0, [0])[0, :, 0]
        for i in range(5):
            expected[b, ..., i] += of_planes(x[b : b + 1, ..., i][:, :, None], 0, [0])[0, :, 0]
    found = multi_plane(of_planes, planes_at_once=planes_at_once)(x, 0, [(0, 0, 0)] * 2)
    torch.testing.assert_close(found, expected / 3, rtol=0, atol=1e-12)


def test_axes_take_turns_along_the_walk():
    times = make_walk(SCHEDULE, steps=7).timesteps
    x = torch.randn(1, 2, 4, 6, 5)
    single = [multi_plane(of_planes, axes=(axis,)) for axis in range(3)]
    turns = multi_plane(of_planes, axes=(1, 2, 0), timesteps=times)
    for row, time in enumerate(times):
        assert torch.equal(turns(x, int(time), [0]), single[(1, 2, 0)[row % 3]](x, int(time), [0]))
    with pytest.raises(ValueError, match="time 3 is not one of those in which the planes take turns"):
        turns(x, 3, [0])


def test_voxel_estimate_is_the_posterior_mean_of_a_voxel():
    labels = np.array([[[0, 1, 1, 2, 2, 2, 2, 0]]], np.uint8)
    estimate = voxel_estimate(encode(labels, 3), SCHEDULE, rng=0)
    time, contents = 600, 2 * np.eye(3) - 1
    signal, noise = SCHEDULE.signal[time], SCHEDULE.noise[time]
    x = np.random.default_rng(0).standard_normal((5, 3))
    weights = np.array([2, 2, 4]) * np.exp(-((x[:, None] - signal * contents) ** 2).sum(-1) / (2 * noise**2))
    expected = (weights / weights.sum(1, keepdims=True)) @ contents
    found = estimate(torch.from_numpy(x.T.copy()).reshape(1, 3, 1, 1, 5), time, [(0, 0, 0)])
    np.testing.assert_allclose(found[0, :, 0, 0].T, expected, atol=1e-6)


def test_voxel_estimate_of_many_contents_averages_to_their_mean():
    channels = np.random.default_rng(1).standard_normal((2, 1, 40, 40)) + 3
    found = voxel_estimate(channels, SCHEDULE, rng=0)(torch.zeros(1, 2, 1, 1, 1), 999, [(0, 0, 0)]).flatten()
    # 64 draws stand for all.
    np.testing.assert_allclose(found, 3, atol=4 / math.sqrt(64))


# ---- one picture ----


def picture():
    return np.random.default_rng(0).integers(2, size=(12, 17)).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy"])
def test_a_micrograph_is_read_from_a_file(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    if suffix == ".npy":
        np.save(path, picture())
    else:
        from skimage.io import imsave

        imsave(path, picture(), check_contrast=False)
    material = read_micrograph(path)
    assert np.array_equal(material.labels, picture()[None])
    assert material.labels.dtype == np.uint8


def test_a_micrograph_keeps_names_and_size():
    source = volume.Volume(picture()[None], (1, 0.5, 0.5), ("pore", "nickel"))
    assert read_micrograph(source).phases == ("pore", "nickel")
    assert read_micrograph(source).voxel_size_um == (1, 0.5, 0.5)
    assert read_micrograph(picture(), phases=["a", "b"]).phases == ("a", "b")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (np.zeros((2, 8, 8), np.uint8), r"one slice, \(Y, X\) or \(1, Y, X\); this one has the shape \(2, 8, 8\)"),
        (np.zeros(8, np.uint8), r"the shape \(8,\)"),
        (np.zeros((8, 8)), "segment it first"),
        (np.array([[0, 255]], np.uint8), "is absent"),
    ],
)
def test_what_is_no_labelled_picture_is_refused(source, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_micrograph(source)


@pytest.mark.parametrize(("symmetry", "orientations"), [("none", 1), ("flips", 4), ("transverse", 8), ("cubic", 8)])
def test_patches_of_a_picture_have_the_symmetries_of_the_plane(symmetry, orientations):
    numbered = np.arange(16).reshape(1, 4, 4)
    patches = LabelledPatches(numbered, size=(1, 4, 4), stride=1, symmetry=symmetry, seed=0)
    seen = {patches[i].tobytes() for i in range(300)}
    plane = numbered[0]
    turned = [np.rot90(p, k) for p in (plane, plane.T) for k in range(4)]
    allowed = {np.ascontiguousarray(t).tobytes() for t in turned}
    assert len(seen) == orientations
    assert seen <= allowed
    assert all(patches[i].shape == (1, 4, 4) for i in range(20))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"axes": ()}, "axes is"),
        ({"axes": (0, 0)}, "each once"),
        ({"axes": (0, 3)}, "give some of 0, 1 and 2"),
        ({"evidence": 0.5}, "evidence is 0.5; give a number of at least 1"),
        ({"evidence": math.nan}, "evidence is nan"),
        ({"planes_at_once": 0}, "planes_at_once is 0"),
    ],
)
def test_impossible_planes_are_refused(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        multi_plane(of_planes, **change)


def test_channels_that_are_not_coded_voxels_are_refused():
    with pytest.raises(ValueError, match=r"channels have shape \(2, 3\) and type float64; give finite numbers"):
        voxel_estimate(np.zeros((2, 3)), SCHEDULE, rng=0)
    with pytest.raises(ValueError, match="give finite numbers"):
        voxel_estimate(np.full((2, 1, 2, 2), np.nan), SCHEDULE, rng=0)
