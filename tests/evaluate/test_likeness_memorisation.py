"""Copies planted in noise are found where they are; nearest windows equal those of an exhaustive search."""

import itertools
import math

import numba
import numpy as np
import pytest

from evaluate.likeness import memorisation, nearest_patches
from evaluate.likeness.memorisation import memorisation_audit
from evaluate.likeness.nearest_patches import mirrored_and_turned, nearest_windows
from synth import gaussian_phases


def noise(shape, n_phases=2, seed=0):
    return np.random.default_rng(seed).integers(0, n_phases, shape).astype(np.uint8)


def turned(patch, axes, mirrored):
    return np.flip(patch.transpose(axes), [a for a in range(3) if mirrored[a]])


def fewest_voxels(patch, volumes, symmetry, barred=()):
    """Fewest voxels that differ from any window, all of them counted; `barred` is (volume, z, y, x) or empty."""
    size, most = len(patch), -1
    copies = np.stack([turned(patch, *turn).ravel() for turn in mirrored_and_turned(symmetry)])
    for number, volume in enumerate(volumes):
        windows = np.lib.stride_tricks.sliding_window_view(volume, (size,) * 3)
        allowed = np.ones(windows.shape[:3], bool)
        if len(barred) and barred[0] == number:
            allowed[tuple(slice(max(c - size + 1, 0), c + size) for c in barred[1:])] = False
        rows = windows[allowed].reshape(-1, size**3)
        labels = np.unique(patch)
        # Whole numbers below 2**24 are exact in float32.
        alike = sum((rows == k).astype(np.float32) @ (copies == k).astype(np.float32).T for k in labels)
        most = max(most, alike.max(initial=-1))
    return size**3 - most


# Smooth and rough material, sizes with and without a rest, several volumes, every symmetry: 60 patches in all.
CASES = [
    (n_phases, size, symmetry)
    for (n_phases, size), symmetry in zip(
        itertools.product((2, 3, 4), (8, 9, 12, 15)), itertools.cycle(("none", "flips", "transverse")), strict=False
    )
]


@pytest.mark.parametrize(("n_phases", "size", "symmetry"), [*CASES, (3, 8, "cubic")])
def test_nearest_window_is_that_of_an_exhaustive_search(n_phases, size, symmetry):
    rng = np.random.default_rng([n_phases, size])
    fractions = (1 / n_phases,) * n_phases
    smooth = gaussian_phases((21, 19, 23), fractions=fractions, length_vox=4, rng=rng).labels
    volumes = [smooth, noise((17, 20, 16), n_phases)]
    strange = gaussian_phases((size,) * 3, fractions=fractions, length_vox=3, rng=rng).labels
    own = np.array([[0, 1, 2, 3], [0, 5, 0, 4], [1, 0, 1, 0], [1, 2, 4, 1]])
    patches = [volumes[v][z : z + size, y : y + size, x : x + size] for v, z, y, x in own] + [strange]
    own = np.concatenate([own, [[2, 0, 0, 0]]])
    found = nearest_windows(patches, volumes, symmetry=symmetry, origin=own, passed_over="place")
    for patch, place, differing, volume, corner, turn in zip(patches, own, *found, strict=True):
        assert differing == fewest_voxels(patch, volumes, symmetry, place)
        window = volumes[volume][tuple(slice(a, a + size) for a in corner)]
        assert np.count_nonzero(window != turned(patch, *mirrored_and_turned(symmetry)[turn])) == differing
        assert volume != place[0] or np.abs(corner - place[1:]).max() >= size


def test_volumes_searched_in_parts_give_the_same(monkeypatch):
    volume = gaussian_phases((40, 37, 33), fractions=(0.4, 0.6), length_vox=4, rng=0).labels
    patches = [noise((10,) * 3), volume[20:30, 11:21, 22:32][::-1]]
    whole = nearest_windows(patches, [volume], symmetry="flips")
    monkeypatch.setattr(nearest_patches, "PART", 11)
    parts = nearest_windows(patches, [volume], symmetry="flips")
    assert whole.differing.tolist() == parts.differing.tolist()
    assert parts.place[1].tolist() == [20, 11, 22]


@pytest.mark.parametrize("size", [8, 33, 40])
def test_copy_with_flipped_voxels_is_found_in_its_place_and_symmetry(size):
    rng = np.random.default_rng(size)
    training = noise((size + 21, size + 17, size + 24), seed=1)
    corner = (13, 5, 20)
    turn = 29
    window = training[tuple(slice(c, c + size) for c in corner)].copy()
    wrong = rng.permutation(size**3)[: size**3 // 20]
    window.ravel()[wrong] ^= 1
    axes, mirrored = mirrored_and_turned("cubic")[turn]
    copy = np.flip(window, [a for a in range(3) if mirrored[a]]).transpose(np.argsort(axes))
    found = nearest_windows([np.ascontiguousarray(copy)], [training], symmetry="cubic")
    assert (found.differing[0], found.place[0].tolist(), found.turn[0]) == (wrong.size, list(corner), turn)


def test_audit_tells_a_volume_with_copies_from_one_without():
    fields = [gaussian_phases((36,) * 3, fractions=(0.4, 0.6), length_vox=2.5, rng=seed).labels for seed in range(3)]
    training, fresh, held_out = fields
    clean = memorisation_audit(fresh, training, size=12, count=12, symmetry="transverse", held_out=held_out, rng=0)
    assert (clean.verdict, clean.share_of_copies, clean.reference) == (
        "no sign of memorisation",
        0,
        "held-out material",
    )
    assert 0.01 < clean.p_value < 0.99
    wrong = np.random.default_rng(0).random(training.shape) < 0.05
    copied = (training ^ wrong)[::-1].transpose(2, 0, 1)
    found = memorisation_audit(copied, training, size=12, count=12, rng=0)
    assert (found.verdict, found.reference) == ("copies", "training material")
    assert found.share_of_copies == 1
    assert found.share_of_held_out == 0
    assert found.p_value < 1e-4
    assert found.probability_nearer == 1
    # The place of each patch, mirrored and turned, is known: voxel (z, y, x) of the copy is (35 - y, x, z).
    _, z, y, x = found.generated.origin.T
    np.testing.assert_array_equal(found.generated.place, np.stack([0 * z, 36 - 12 - y, x, z], axis=1))
    np.testing.assert_allclose(found.generated.distance, 0.05, atol=4 * math.sqrt(0.05 * 0.95 / 12**3))


def test_patches_of_an_earlier_audit_are_not_looked_for_again(monkeypatch):
    training, fresh, other = (noise((20, 20, 20), seed=seed) for seed in range(3))
    settings = {"size": 8, "count": 2, "symmetry": "none", "rng": 0}
    first, alone = memorisation_audit(fresh, training, **settings), memorisation_audit(other, training, **settings)
    looked_for, look = [], memorisation.nearest_windows
    monkeypatch.setattr(memorisation, "nearest_windows", lambda patches, *a, **k: looked_for.append(1) or look(
        patches, *a, **k))  # fmt: skip
    again = memorisation_audit(other, training, chance=first.held_out, **settings)
    assert len(looked_for) == 1
    assert again.held_out is first.held_out
    assert (again.p_value, again.verdict, again.threshold) == (alone.p_value, alone.verdict, alone.threshold)


def test_one_copied_corner_of_a_new_volume_is_noticed():
    training, fresh, held_out = (
        gaussian_phases((40,) * 3, fractions=(0.3, 0.3, 0.4), length_vox=3, rng=seed).labels for seed in range(3)
    )
    pasted = fresh.copy()
    pasted[:, :, :24] = training[:, :, 10:34]
    found = memorisation_audit([fresh, pasted], training, size=12, count=24, symmetry="none", held_out=held_out, rng=1)
    _, _, _, x = found.generated.origin.T
    inside = (found.generated.origin[:, 0] == 1) & (x <= 12)
    assert inside.sum() >= 2
    assert np.all(found.generated.distance[inside] == 0)
    near = found.generated.relative < found.threshold
    assert np.all(near[inside])
    assert np.all((found.generated.origin[near, 0] == 1) & (x[near] < 24))
    assert found.verdict == "copies"


def test_noise_is_as_far_from_noise_as_the_extreme_of_a_binomial():
    """The smallest of m binomial counts of n halves: n/2 - sqrt(n/4) * z, z the normal quantile of 1/m."""
    from scipy.stats import binom

    size, side, many = 12, 36, 6
    found = memorisation_audit(noise((many, size, size, size), seed=3), noise((side,) * 3, seed=4), size=size,
                               count=many, symmetry="flips", held_out=noise((side,) * 3, seed=5), rng=0)  # fmt: skip
    tried = (side - size + 1) ** 3 * 8
    low, high = (binom.ppf(1 - (1 - p) ** (1 / tried), size**3, 0.5) / size**3 for p in (1e-4, 1 - 1e-4))
    for sample in (found.generated, found.held_out):
        assert np.all((low <= sample.distance) & (sample.distance <= high))
        np.testing.assert_allclose(sample.expected, 0.5, atol=4 * 0.5 / math.sqrt(size**3) * 0.05)
    assert found.expected_distance == pytest.approx(0.5, abs=1e-3)


def test_patches_of_a_single_phase_are_no_copies():
    empty = np.zeros((20, 20, 20), np.uint8)
    found = memorisation_audit(empty, noise((30,) * 3) * (np.indices((30,) * 3)[0] > 14), size=8, count=4, rng=0)
    assert found.generated.distance.tolist() == [0] * 4
    assert found.generated.relative.tolist() == [1] * 4
    assert found.share_of_copies == 0


def test_result_depends_on_the_seed_and_not_on_the_threads():
    training, fresh = noise((26, 22, 18), 3), noise((20, 20, 20), 3, seed=1)
    threads = numba.get_num_threads()
    several = memorisation_audit(fresh, training, size=8, count=3, symmetry="transverse", rng=7)
    numba.set_num_threads(1)
    try:
        one = memorisation_audit(fresh, training, size=8, count=3, symmetry="transverse", rng=np.random.default_rng(7))
    finally:
        numba.set_num_threads(threads)
    for ours, theirs in ((one.generated, several.generated), (one.held_out, several.held_out)):
        for a, b in zip(vars(ours).values(), vars(theirs).values(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert one.p_value == several.p_value


VOLUME = noise((20,) * 3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"size": 7}, "size is 7; it must be from 8 to 240"),
        ({"size": 24}, r"generated has shape \(20, 20, 20\); patches of 24 voxels do not fit"),
        ({"count": 1}, "count is 1; it must be from 2"),
        ({"symmetry": "all"}, "symmetry is 'all'; it must be one of 'cubic'"),
        ({"level": math.nan}, "level is nan; it must be a number above 0"),
        ({"training": []}, "training holds no volume"),
        ({"training": [VOLUME, VOLUME[:4]]}, r"training\[1\] has shape \(4, 20, 20\)"),
        ({"generated": VOLUME * 0.3}, "generated holds fractional or NaN values"),
        ({"generated": VOLUME + 20}, "generated holds values up to 21; at most 16 phases"),
        ({"held_out": VOLUME[0]}, "held_out has shape"),
        ({"held_out": VOLUME}, "most patches of the held-out material lie in the training material a second time"),
        ({"training": np.tile(VOLUME[:10], (4, 1, 1))}, "most patches of the training material lie in the training"),
        ({"training": VOLUME[:12, :12, :12]}, "every window of 8 voxels overlaps the patch's own place"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(change, sentence):
    arguments = {"generated": VOLUME, "training": VOLUME, "size": 8, "count": 2, "symmetry": "none", "rng": 0} | change
    with pytest.raises(ValueError, match=sentence):
        memorisation_audit(arguments.pop("generated"), arguments.pop("training"), **arguments)
