import numpy as np
import pytest
import torch

from segment import samples
from segment.crops import PlainCrops
from segment.losses import IGNORED
from segment.samples import MOST_BLUR, MOST_DRIFT, MOST_NOISE, ORIENTATIONS, RADII, RandomCrops, thickness_classes


@pytest.fixture
def random_volumes():
    """Images whose last channel is a number of its own at each voxel, and labels equal to that number."""
    rng = np.random.default_rng(0)
    labels = [rng.permutation(250).reshape(5, 5, 10).astype(np.uint8), rng.integers(0, 250, (7, 8, 6), np.uint8)]
    return [np.stack([volume, volume]).astype(np.float32) for volume in labels], labels


@pytest.mark.parametrize("crop", [(4, 4), (3, 4, 4)])
def test_sample_is_a_function_of_seed_and_index_alone(random_volumes, crop):
    first, second = (RandomCrops(*random_volumes, crop=crop, seed=3) for _ in range(2))
    expected = [first(index) for index in range(6)]
    for index in (4, 1, 5, 1, 0):
        found = second(index)
        assert torch.equal(found["image"], expected[index]["image"])
        assert torch.equal(found["labels"], expected[index]["labels"])
    other = RandomCrops(*random_volumes, crop=crop, seed=4)
    assert not all(torch.equal(other(index)["labels"], expected[index]["labels"]) for index in range(6))


@pytest.mark.parametrize("crop", [(4, 4), (3, 4, 4)])
def test_mirrors_and_turns_keep_image_and_labels_together(random_volumes, crop):
    sample = RandomCrops(*random_volumes, crop=crop, seed=1)
    for index in range(40):
        found = sample(index)
        assert found["labels"].shape == crop
        assert found["image"].shape == (2, *crop)
        # All channels but the last are never rebrightened.
        assert torch.equal(found["image"][0], found["labels"].float())


def test_change_of_brightness_is_one_increasing_function_over_the_sample(random_volumes):
    sample = RandomCrops(*random_volumes, crop=(4, 4, 4), seed=2)
    changed = 0
    for index in range(20):
        found = sample(index)
        order = found["labels"].flatten().argsort(stable=True)
        grey, true = found["image"][1].flatten()[order], found["labels"].flatten()[order]
        assert (grey.diff()[true.diff() > 0] > 0).all()
        assert (grey.diff()[true.diff() == 0] == 0).all()
        changed += not torch.equal(grey, true.float())
    assert changed == 20


def test_slices_are_never_mirrored_along_z():
    image = np.broadcast_to(np.arange(6, dtype=np.float32)[:, None, None], (6, 8, 8))
    labels = image.astype(np.uint8)
    sample = RandomCrops([np.stack([image, image])], [labels], crop=(3, 4, 4), seed=0)
    for index in range(20):
        assert (sample(index)["labels"].diff(dim=0) == 1).all()


def test_all_eight_symmetries_of_the_slice_occur_and_no_other():
    labels = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    sample = RandomCrops([labels[None].astype(np.float32)], [labels], crop=(2, 2), seed=0)
    found = {tuple(sample(index)["labels"].flatten().tolist()) for index in range(200)}
    square = labels[0]
    turned = [np.rot90(square, k) for k in range(4)]
    assert found == {tuple(view.flatten().tolist()) for t in turned for view in (t, t.T)}


def test_every_corner_of_every_volume_is_drawn():
    labels = [np.arange(27, dtype=np.uint8).reshape(3, 3, 3), np.arange(27, 54, dtype=np.uint8).reshape(3, 3, 3)]
    sample = RandomCrops([v[None].astype(np.float32) for v in labels], labels, crop=(1, 1), seed=0)
    assert {sample(index)["labels"].item() for index in range(600)} == set(range(54))


def test_volumes_are_not_changed_by_drawing(random_volumes):
    images, labels = random_volumes
    before = [image.copy() for image in images]
    sample = RandomCrops(images, labels, crop=(4, 4), seed=0)
    for index in range(10):
        sample(index)["image"].zero_()
    for image, kept in zip(images, before, strict=True):
        np.testing.assert_array_equal(image, kept)


def drawn_as_at_first(images, labels, *, crop, seed, index):
    """Draw as the shipped model was trained with, kept here as a frozen copy."""
    rng = np.random.default_rng((seed, index))
    which = int(rng.integers(len(labels)))
    crop = crop if len(crop) == 3 else (1, *crop)
    corner = [int(rng.integers(n - c + 1)) for n, c in zip(labels[which].shape, crop, strict=True)]
    window = tuple(slice(a, a + c) for a, c in zip(corner, crop, strict=True))
    labels, image = labels[which][window], images[which][(slice(None), *window)]
    for axis in (1, 2):
        if rng.random() < 0.5:
            labels, image = np.flip(labels, axis), np.flip(image, axis + 1)
    if rng.random() < 0.5:
        labels, image = labels.swapaxes(1, 2), image.swapaxes(2, 3)
    image = np.array(image, np.float32)
    gain, offset = rng.uniform(0.85, 1.15), rng.uniform(-0.1, 0.1)
    gamma = np.exp(rng.uniform(-0.25, 0.25))
    image[-1] = np.sign(image[-1]) * np.abs(image[-1]) ** gamma * gain + offset
    return image, labels


@pytest.mark.parametrize("crop", [(4, 4), (3, 4, 4)])
def test_samples_without_further_settings_are_those_of_the_shipped_model_to_the_bit(random_volumes, crop):
    sample = RandomCrops(*random_volumes, crop=crop, seed=5)
    for index in range(50):
        image, labels = drawn_as_at_first(*random_volumes, crop=crop, seed=5, index=index)
        found = sample(index)
        np.testing.assert_array_equal(found["image"].numpy().reshape(image.shape), image)
        np.testing.assert_array_equal(found["labels"].numpy().reshape(labels.shape), labels)


@pytest.mark.parametrize("channels", [1, 2])
def test_sample_is_a_function_of_seed_and_index_alone_with_every_setting(random_volumes, channels):
    images, labels = random_volumes
    images = [image[:channels] for image in images]
    settings = {"crop": (4, 4), "aware": 0.5, "mirrored": 3, "strength": 1.0, "neighbours": 2 if channels == 1 else 0}
    first, second = (RandomCrops(images, labels, seed=3, **settings) for _ in range(2))
    expected = [first(index) for index in range(6)]
    for index in (4, 1, 5, 1, 0):
        for key, value in second(index).items():
            assert torch.equal(value, expected[index][key])
            assert value.shape[-2:] == (4, 4)


# Thickness


def classes_by_brute_force(labels):
    """Try a ball of every radius around every voxel."""
    where = np.argwhere(np.ones(labels.shape, bool))
    apart = np.sqrt(((where[:, None] - where[None]) ** 2).sum(-1))
    phases = labels.ravel()
    free = np.where(phases[:, None] != phases[None], apart, np.inf).min(axis=1)
    fits = [((free >= radius)[None] & (apart < radius)).any(axis=1) for radius in RADII]
    return np.sum(fits, axis=0).reshape(labels.shape)


def blocky(shape, *, phases, seed):
    """Phases in blocks of 1 to 4 voxels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, phases, shape)
    for axis in range(3):
        labels = np.take(labels, np.sort(rng.integers(0, shape[axis], shape[axis])), axis)
    return labels.astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("phases", [2, 3])
def test_classes_of_thickness_equal_those_by_brute_force(phases, seed):
    labels = blocky((9, 8, 10), phases=phases, seed=seed)
    labels[:, 5:, :6] = IGNORED if seed == 3 else 1
    expected = classes_by_brute_force(labels)
    assert len(np.unique(expected)) >= 2
    np.testing.assert_array_equal(thickness_classes(labels), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_class_of_a_slab_follows_from_its_planes(axis):
    for planes, expected in (
        (1, 0),
        (2, 0),
        (3, 1),
        (4, 1),
        (5, 2),
        (8, 2),
        (9, 3),
        (16, 3),
        (17, 4),
        (32, 4),
        (33, 5),
    ):
        labels = np.zeros((3, 3, planes + 4), np.uint8)
        labels[..., 2:-2] = 1
        found = thickness_classes(np.moveaxis(labels, 2, axis))
        assert (np.moveaxis(found, axis, 2)[labels == 1] == expected).all()


def test_volume_of_one_phase_is_as_thick_as_can_be():
    assert (thickness_classes(np.zeros((3, 4, 5), np.uint8)) == len(RADII)).all()


def test_thickness_of_what_is_no_volume_of_labels_is_refused():
    for labels in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.int64), np.zeros((0, 4, 4), np.uint8)):
        with pytest.raises(ValueError, match=r"give a volume \(z, y, x\) of uint8"):
            thickness_classes(labels)


# Sampling that sees thin features


def numbered(volumes):
    """Give images whose first channel is a number of its own at each voxel of all volumes."""
    first = np.cumsum([0, *(volume.size for volume in volumes)])
    numbers = [n + np.arange(v.size, dtype=np.float32).reshape(v.shape) for n, v in zip(first, volumes, strict=False)]
    return [np.stack([number, np.zeros_like(number)]) for number in numbers]


@pytest.mark.parametrize("aware", [1.0, 0.3])
def test_voxels_are_drawn_as_often_as_their_phase_and_thickness_say(aware):
    volumes = [blocky((4, 8, 9), phases=2, seed=1), blocky((5, 7, 6), phases=3, seed=2)]
    volumes[1][0, 0, :3] = IGNORED
    expected = []
    for labels in volumes:
        probability, classes = np.zeros(labels.shape), classes_by_brute_force(labels)
        phases = [phase for phase in np.unique(labels) if phase != IGNORED]
        for phase in phases:
            kinds = np.unique(classes[labels == phase])
            for kind in kinds:
                inside = (labels == phase) & (classes == kind)
                probability[inside] = 1 / len(phases) / len(kinds) / inside.sum()
        expected.append(((aware * probability + (1 - aware) / labels.size) / len(volumes)).ravel())
    p = np.concatenate(expected)
    assert p.sum() == pytest.approx(1)
    assert p.max() > 1.5 * np.median(p)

    sample, draws = RandomCrops(numbered(volumes), volumes, crop=(1, 1), seed=0, aware=aware), 4000
    counts = np.bincount([int(sample(index)["image"][0].item()) for index in range(draws)], minlength=p.size)
    assert (counts[p == 0] == 0).all()
    counts, p = counts[p > 0], p[p > 0]
    chi2 = np.sum((counts - draws * p) ** 2 / (draws * p))
    # Pearson's statistic has this mean and variance whatever the expected counts.
    k = len(p)
    variance = 2 * (k - 1) + (np.sum(1 / p) - k**2 - 2 * k + 2) / draws
    assert abs(chi2 - (k - 1)) < 4 * np.sqrt(variance)


@pytest.mark.parametrize("crop", [(5, 5), (3, 5, 5)])
@pytest.mark.parametrize("where", [(4, 6, 7), (0, 0, 11), (8, 10, 1)])
def test_the_one_labelled_voxel_is_in_every_sample_and_in_its_middle_where_margins_allow(crop, where):
    labels = np.full((9, 11, 12), IGNORED, np.uint8)
    labels[where] = 1
    middle = tuple(side // 2 for side in crop)
    settings = {"crop": crop, "aware": 1.0}
    inside = RandomCrops([labels[None].astype(np.float32)], [labels], seed=0, **settings)
    mirrored = RandomCrops([labels[None].astype(np.float32)], [labels], seed=0, mirrored=2, **settings)
    for index in range(20):
        assert (inside(index)["labels"] == 1).sum() == 1
        assert mirrored(index)["labels"][middle] == 1
        if where == (4, 6, 7):
            assert inside(index)["labels"][middle] == 1


# Neighbouring slices


@pytest.mark.parametrize("k", [1, 2, 7])
def test_neighbours_are_the_slices_around_and_repeated_at_the_ends(monkeypatch, k):
    monkeypatch.setattr(samples, "_regreyed", lambda grey, rng, strength: grey)
    volume = np.arange(6**3, dtype=np.uint8).reshape(6, 6, 6)
    sample = RandomCrops([volume[None].astype(np.float32)], [volume], crop=(4, 4), seed=0, neighbours=k)
    seen = set()
    for index in range(60):
        found = sample(index)
        z = int(found["labels"][0, 0]) // 36
        seen.add(z)
        assert found["image"].shape == (2 * k + 1, 4, 4)
        for channel, neighbour in enumerate(range(z - k, z + k + 1)):
            shift = 36 * (min(max(neighbour, 0), 5) - z)
            assert torch.equal(found["image"][channel], found["labels"].float() + shift)
    assert seen == set(range(6))


def test_neighbours_change_neither_the_crop_nor_its_brightness(random_volumes):
    images, labels = random_volumes
    images = [image[:1] for image in images]
    alone, among = (RandomCrops(images, labels, crop=(4, 4), seed=6, neighbours=k) for k in (0, 3))
    for index in range(20):
        assert torch.equal(alone(index)["labels"], among(index)["labels"])
        assert torch.equal(alone(index)["image"][0], among(index)["image"][3])


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_share_of_the_slices_stands_alone(monkeypatch, share):
    monkeypatch.setattr(samples, "_regreyed", lambda grey, rng, strength: grey)
    volume = np.arange(6**3, dtype=np.uint8).reshape(6, 6, 6)
    sample = RandomCrops([volume[None].astype(np.float32)], [volume], crop=(4, 4), seed=0, neighbours=2, alone=share)
    lone = 0
    for index in range(400):
        found = sample(index)
        # Of the middle slices no neighbour is repeated otherwise.
        copies = [torch.equal(channel, found["labels"].float()) for channel in found["image"]]
        assert copies[2]
        assert all(copies) or not (copies[1] and copies[3])
        lone += all(copies)
    # Five standard deviations.
    assert abs(lone - 400 * share) <= 5 * np.sqrt(400 * share * (1 - share))


# Thick slices


@pytest.mark.parametrize("k", [1, 2])
def test_neighbours_lie_up_to_so_many_slices_apart(monkeypatch, k):
    monkeypatch.setattr(samples, "_regreyed", lambda grey, rng, strength: grey)
    image = np.broadcast_to(np.arange(40, dtype=np.float32)[:, None, None], (40, 4, 4))
    sample = RandomCrops([image[None]], [image.astype(np.uint8)], crop=(4, 4), seed=0, neighbours=k, stride=3)
    steps = []
    for index in range(300):
        found = sample(index)
        z, seen = int(found["labels"][0, 0]), found["image"][:, 0, 0].numpy()
        if not 3 * k <= z < 40 - 3 * k:
            continue
        steps.append(int(seen[1] - seen[0]))
        np.testing.assert_array_equal(seen, z + steps[-1] * np.arange(-k, k + 1))
    counts = np.bincount(steps, minlength=4)
    assert counts[0] == 0
    # Five standard deviations.
    assert (np.abs(counts[1:] - len(steps) / 3) < 5 * np.sqrt(len(steps) * 2 / 9)).all()


@pytest.mark.parametrize(("depth", "most"), [(3, 1), (6, 2), (20, 3)])
def test_blocks_take_every_so_manieth_slice_and_stay_inside(monkeypatch, depth, most):
    monkeypatch.setattr(samples, "_regreyed", lambda grey, rng, strength: grey)
    image = np.broadcast_to(np.arange(depth, dtype=np.float32)[:, None, None], (depth, 4, 4))
    settings = {"crop": (3, 4, 4), "seed": 0, "stride": 3, "aware": 0.5}
    sample = RandomCrops([image[None]], [image.astype(np.uint8)], **settings)
    steps = set()
    for index in range(100):
        found = sample(index)
        seen = found["labels"][:, 0, 0]
        steps.add(int(seen[1] - seen[0]))
        assert seen[2] - seen[1] == seen[1] - seen[0]
        assert torch.equal(found["image"][0, :, 0, 0], seen.float())
    assert steps == set(range(1, most + 1))


# Enlarged slices


def test_enlarged_slices_are_smaller_windows_with_their_labels():
    _, y, x = np.mgrid[:3, :40, :40].astype(np.float32)
    labels = ((y // 8 + x // 8) % 2).astype(np.uint8)
    images = np.stack([y, x])
    sample = RandomCrops([images], [labels], crop=(16, 16), seed=0, zoom=4)
    factors = []
    for index in range(300):
        found = sample(index)
        assert found["image"].shape == (2, 16, 16)
        assert found["labels"].shape == (16, 16)
        # The channel that is not rebrightened tells which rows were cut out, and by how much they were enlarged.
        rows = found["image"][0] if found["image"][0].diff(dim=0).abs().sum() > 0 else found["image"][0].T
        steps = rows[4:12, 0].diff().abs()
        factors.append(1 / float(steps.mean()))
        assert torch.allclose(steps, steps.mean(), atol=1e-4)
    assert min(factors) == pytest.approx(1, abs=0.07)
    assert max(factors) == pytest.approx(4, abs=0.3)
    # Even in the logarithm: half of them below 2, but for the rounding of the side.
    assert np.mean(np.array(factors) < 2) == pytest.approx(0.5, abs=0.15)


def test_labels_of_enlarged_slices_lie_on_their_grey_values(monkeypatch):
    monkeypatch.setattr(samples, "_regreyed", lambda grey, rng, strength: grey)
    rng = np.random.default_rng(0)
    labels = np.broadcast_to(rng.integers(0, 2, (3, 48, 1)), (3, 48, 48)).astype(np.uint8)
    sample = RandomCrops([labels[None].astype(np.float32)], [labels], crop=(16, 16), seed=0, zoom=4, aware=0.5)
    for index in range(50):
        found = sample(index)
        # Across the stripes the label is that of the nearer of two voxels.
        wrong = (found["image"][0] - found["labels"]).abs() > 0.5 + 1e-6
        assert not wrong.any()


def test_zoom_of_1_changes_nothing(random_volumes):
    plain, zoomed = (RandomCrops(*random_volumes, crop=(4, 4), seed=1, **which) for which in ({}, {"zoom": 1.0}))
    for index in range(10):
        assert torch.equal(plain(index)["image"], zoomed(index)["image"])


# Turned volumes


@pytest.fixture
def cube():
    """A cube whose voxels each have a number of their own."""
    labels = np.arange(216, dtype=np.uint8).reshape(6, 6, 6)
    return [labels[None].astype(np.float32)], [labels]


def test_turned_crops_are_the_48_views_of_a_cube_and_plain_ones_the_six_ways_it_may_lie(cube):
    whole = cube[1][0]
    ways = [whole.transpose(axes)[::step] for axes in ORIENTATIONS for step in (1, -1)]
    plain = PlainCrops(*cube, crop=(6, 6, 6), seed=0, turned=True)
    found = [plain(index) for index in range(80)]
    assert {one["labels"].numpy().astype(np.uint8).tobytes() for one in found} == {way.tobytes() for way in ways}
    assert all(torch.equal(one["image"][0], one["labels"].float()) for one in found)
    turned = RandomCrops(*cube, crop=(6, 6, 6), seed=0, turned=True)
    found = {turned(index)["labels"].numpy().astype(np.uint8).tobytes() for index in range(600)}
    assert found == {view for way in ways for view in views(way)}


def test_neighbours_of_turned_slices_follow_along_any_axis_either_way(cube):
    crops = PlainCrops(*cube, crop=(4, 4), seed=0, neighbours=1, turned=True)
    steps = set()
    for index in range(200):
        found = crops(index)
        assert torch.equal(found["image"][1], found["labels"].float())
        # At the ends the outermost slice is repeated.
        steps |= set(found["image"].diff(dim=0).unique().tolist()) - {0.0}
    assert steps == {36, -36, 6, -6, 1, -1}


def test_aware_crops_of_turned_volumes_are_centred_on_what_was_drawn():
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[1, 4, 2] = 1
    crops = RandomCrops([labels[None].astype(np.float32)], [labels], crop=(1, 1), seed=0, aware=1.0, turned=True)
    # Phases are drawn alike, though one has a single voxel.
    assert 0.4 < np.mean([int(crops(index)["labels"]) for index in range(200)]) < 0.6


def test_turned_crops_must_fit_every_way():
    flat = np.zeros((3, 8, 8), np.uint8)
    with pytest.raises(ValueError, match=r"crop \(4, 4\) is larger than a volume of \(8, 3, 8\)"):
        RandomCrops([flat[None].astype(np.float32)], [flat], crop=(4, 4), seed=0, turned=True)


# Mirrored margins


def views(square):
    return [
        v.tobytes()
        for turned in (np.rot90(square, n, (-2, -1)) for n in range(4))
        for v in (turned, turned.swapaxes(-1, -2))
    ]


@pytest.mark.parametrize(
    ("shape", "crop", "mirrored", "reach"),
    [
        ((1, 5, 6), (4, 4), 2, (0, 2, 2)),
        ((1, 5, 6), (4, 4), 1, (0, 1, 1)),
        # At most half a side; of a slice none along z.
        ((1, 5, 6), (3, 3), 99, (0, 1, 1)),
        ((1, 5, 6), (4, 4), 0, (0, 0, 0)),
        # Smaller than the crop: a margin of what is missing, on either side.
        ((1, 3, 5), (4, 4), 0, (0, 1, 0)),
        ((1, 2, 3), (8, 8), 0, (0, 6, 5)),
        ((2, 5, 4), (3, 4, 4), 1, (2, 1, 1)),
    ],
)
def test_crops_beyond_the_faces_are_windows_of_the_volume_padded_by_its_mirror_image(shape, crop, mirrored, reach):
    volume = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    side = crop if len(crop) == 3 else (1, *crop)
    padded = np.pad(volume, [(n, n) for n in reach], mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, side).reshape(-1, *side)
    possible = {min(views(np.ascontiguousarray(window))) for window in windows}
    sample = RandomCrops([volume[None].repeat(2, 0).astype(np.float32)], [volume], crop=crop, seed=0, mirrored=mirrored)
    drawn = set()
    for index in range(25 * len(windows)):
        found = sample(index)
        assert torch.equal(found["image"][0], found["labels"].float())
        drawn.add(min(views(found["labels"].numpy().astype(np.uint8))))
    # Each is missed with a chance below e^-25 times their number.
    assert drawn == possible


def test_margin_of_0_changes_nothing_where_volumes_are_large_enough(random_volumes):
    plain, mirrored = (RandomCrops(*random_volumes, crop=(3, 4, 4), seed=1, mirrored=m) for m in (None, 0))
    for index in range(20):
        assert torch.equal(plain(index)["image"], mirrored(index)["image"])


# Stronger changes of the grey values


@pytest.mark.parametrize("crop", [(4, 4), (3, 4, 4)])
def test_strength_changes_grey_values_and_nothing_else(random_volumes, crop):
    plain, strong = (RandomCrops(*random_volumes, crop=crop, seed=1, strength=s) for s in (0.0, 1.0))
    for index in range(20):
        before, after = plain(index), strong(index)
        assert torch.equal(before["labels"], after["labels"])
        assert torch.equal(before["image"][0], after["image"][0])
        assert after["image"].dtype == torch.float32
        assert torch.isfinite(after["image"]).all()
        assert not torch.equal(before["image"][1], after["image"][1])


def test_a_little_strength_changes_little():
    rng = np.random.default_rng(0)
    image, labels = rng.uniform(0, 1, (1, 4, 9, 9)).astype(np.float32), np.zeros((4, 9, 9), np.uint8)
    plain, weak = (RandomCrops([image], [labels], crop=(4, 8, 8), seed=1, strength=s) for s in (0.0, 1e-3))
    for index in range(20):
        # Six standard deviations of noise and drift, and a thousandth of every range.
        torch.testing.assert_close(plain(index)["image"], weak(index)["image"], rtol=0, atol=4e-3)


def mean_and_error_of_squares(most, draws):
    """Mean of level², level even in 0 … most, and its standard error over this many draws."""
    return most**2 / 3, most**2 * np.sqrt((1 / 5 - 1 / 9) / draws)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_noise_and_drift_have_the_variances_of_the_docstring(strength):
    rng, draws = np.random.default_rng(0), 400
    black = np.zeros((60, 60, 1), np.float32)
    noise = np.stack([samples._noisy(black, rng, strength) for _ in range(draws)])
    drift = np.stack([samples._drifted(black, rng, strength) for _ in range(draws)])
    gained = np.stack([samples._drifted(black + 1, rng, strength) for _ in range(draws)]) - 1
    # Of one slice all voxels drift alike; gain and offset of white ones add up.
    assert (drift == drift[:, :, :1]).all()
    # The finite number of values adds 2/60 to the relative variance of a drift's square, at most 4 % to its error.
    for values, most, factor in (
        (noise, MOST_NOISE, 1),
        (drift[:, :, 0], MOST_DRIFT, 1),
        (gained[:, :, 0], MOST_DRIFT, 2),
    ):
        mean, error = mean_and_error_of_squares(most * strength, draws)
        assert abs(np.mean(values**2) / factor - mean) < 4 * 1.05 * error


def test_blur_keeps_the_mean_and_reaches_along_z_half_the_time():
    rng, draws = np.random.default_rng(0), 400
    point = np.zeros((15, 15, 15), np.float32)
    point[7, 7, 7] = 1
    blurred = np.stack([samples._blurred(point, rng, 1.0) for _ in range(draws)])
    np.testing.assert_allclose(blurred.sum(axis=(1, 2, 3)), 1, atol=1e-5)
    widths = np.einsum("nzyx,y->n", blurred, (np.arange(15) - 7.0) ** 2) ** 0.5
    assert 0.95 * MOST_BLUR < widths.max() < 1.01 * MOST_BLUR
    # Widths up to a quarter voxel leave a point as it is: count the others.
    seen = widths > 0.3
    along_z = blurred[seen][:, 6, 7, 7] > 1e-6
    assert abs(along_z.mean() - 0.5) < 4 * 0.5 / np.sqrt(seen.sum())


# Bad input


@pytest.mark.parametrize("crop", [(6, 6), (6, 4, 4), (4, 7, 7)])
def test_crop_larger_than_any_volume_is_refused(random_volumes, crop):
    with pytest.raises(ValueError, match="larger than a volume"):
        RandomCrops(*random_volumes, crop=crop, seed=0)


def test_crop_that_is_not_square_is_refused(random_volumes):
    with pytest.raises(ValueError, match="y and x sides must be equal"):
        RandomCrops(*random_volumes, crop=(4, 2), seed=0)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"crop": (4,)}, r"crop is \(4,\); give two or three whole numbers above 0"),
        ({"crop": (0, 0)}, r"crop is \(0, 0\)"),
        ({"crop": (2.0, 2.0)}, r"crop is \(2.0, 2.0\)"),
        ({"aware": 1.5}, "aware is 1.5; give a number from 0 to 1"),
        ({"aware": float("nan")}, "aware is nan"),
        ({"aware": True}, "aware is True"),
        ({"strength": -0.1}, "strength is -0.1; give a number from 0 to 1"),
        ({"strength": "strong"}, "strength is 'strong'"),
        ({"neighbours": -1}, "neighbours is -1; give a whole number, 0 or more"),
        ({"neighbours": 1.0}, "neighbours is 1.0"),
        ({"neighbours": 1}, "neighbours is 1, but an image has 2 channels; give images of one"),
        ({"neighbours": 1, "crop": (2, 4, 4)}, "neighbours is 1, but crops are blocks"),
        ({"alone": 2.0}, "alone is 2.0; give a number from 0 to 1"),
        ({"alone": 0.5}, "alone is 0.5, but samples have no neighbours"),
        ({"stride": 0}, "stride is 0; give a whole number, 1 or more"),
        ({"stride": 1.5}, "stride is 1.5; give a whole number"),
        ({"stride": 2}, "stride is 2, but samples have no neighbours; give 1, or neighbours above 0"),
        ({"zoom": 0.5}, "zoom is 0.5; give a number from 1 to the side of the crop, 4"),
        ({"zoom": 5}, "zoom is 5; give"),
        ({"zoom": float("nan")}, "zoom is nan"),
        ({"zoom": 2, "crop": (2, 4, 4)}, "zoom is 2, but crops are blocks"),
        ({"mirrored": -1}, "mirrored is -1; give a whole number, 0 or more"),
        ({"mirrored": 0.5}, "mirrored is 0.5"),
    ],
)
def test_bad_settings_of_samples_are_refused(random_volumes, settings, reason):
    with pytest.raises(ValueError, match=reason):
        RandomCrops(*random_volumes, **({"crop": (4, 4), "seed": 0} | settings))


def test_volumes_that_do_not_belong_together_are_refused(random_volumes):
    images, labels = random_volumes
    for wrong, reason in (
        ((images[:1], labels), "there are 1 images and 2 labels"),
        (([], []), "there are 0 images and 0 labels"),
        ((images[::-1], labels), r"an image has shape \(2, 7, 8, 6\) and its labels \(5, 5, 10\)"),
        (([image[0] for image in images], labels), r"an image has shape \(5, 5, 10\)"),
    ):
        with pytest.raises(ValueError, match=reason):
            RandomCrops(*wrong, crop=(4, 4), seed=0)


def test_volume_without_any_label_is_refused_where_voxels_are_drawn(random_volumes):
    images, labels = random_volumes
    nothing = [labels[0], np.full_like(labels[1], IGNORED)]
    assert RandomCrops(images, nothing, crop=(4, 4), seed=0)(0)["labels"].shape == (4, 4)
    with pytest.raises(ValueError, match="every voxel of a volume is labelled 255; label some"):
        RandomCrops(images, nothing, crop=(4, 4), seed=0, aware=0.1)
