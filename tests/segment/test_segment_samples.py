import numpy as np
import pytest
import torch

from segment.samples import RandomCrops


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


@pytest.mark.parametrize("crop", [(6, 6), (6, 4, 4), (4, 7, 7)])
def test_crop_larger_than_any_volume_is_refused(random_volumes, crop):
    with pytest.raises(ValueError, match="larger than a volume"):
        RandomCrops(*random_volumes, crop=crop, seed=0)


def test_crop_that_is_not_square_is_refused(random_volumes):
    with pytest.raises(ValueError, match="y and x sides must be equal"):
        RandomCrops(*random_volumes, crop=(4, 2), seed=0)
