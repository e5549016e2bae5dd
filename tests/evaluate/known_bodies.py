"""Bodies and directions that several tests of `evaluate` measure."""

import numpy as np
from scipy.ndimage import gaussian_filter


def positions(shape, voxel=(1, 1, 1), shift=(0, 0, 0)):
    """Places of the voxels' centres, in the unit of `voxel`, from the middle of the window."""
    return np.array(
        [(i - (n - 1) / 2) * edge + s for i, n, edge, s in zip(np.indices(shape), shape, voxel, shift, strict=True)]
    )


def room(size, voxel):
    return tuple(int(np.ceil(size / edge)) for edge in voxel)


def directions(count, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def mixture(shape=(20, 21, 22), n_phases=3, seed=0):
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.normal(size=shape), 1.5, mode="wrap") for _ in range(n_phases)]
    return np.argmax(fields, axis=0).astype(np.uint8)
