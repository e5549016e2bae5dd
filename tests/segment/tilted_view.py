"""A stack as a tilted camera sees it, made the plainest way: the tests' own truth."""

import math

import numpy as np
from scipy import ndimage

# Deep enough that what comes into sight there is too dark to be noticed.
DEEPEST = 30


def blobs(shape, *, size=6.0, seed=0):
    """Return a solid (bool) whose surfaces have no preferred direction."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), size, mode="wrap")
    return field > 0


def look(solid, shape, *, slope, squeeze=1.0, path=None, noise=0.02, shine=0.35, seed=0):
    """Return a picture stack of `shape`: faces 0.7; through pores, what is d slices deeper, dimmed, d·slope rows on.

    Row r of slice z shows the face at (r - path_y) / squeeze; what lies behind is seen `slope` rows of the structure
    further on for each slice of depth.
    """
    depth, height, width = shape
    path = np.zeros((depth, 2)) if path is None else path
    smooth = ndimage.gaussian_filter(solid.astype(np.float32), 0.7)
    margin = (solid.shape[2] - width) / 2
    grey = np.empty(shape, np.float32)
    for z in range(depth):
        y = (np.arange(height) + 0.5 - path[z, 0] - height / 2) / squeeze + (solid.shape[1] - DEEPEST * slope) / 2 - 0.5
        x = np.arange(width) - path[z, 1] + margin
        picture, open_ = np.full(shape[1:], 0.1), np.ones(shape[1:])
        for d in range(DEEPEST):
            at = np.meshgrid(y + d * slope, x, indexing="ij")
            there = np.clip(ndimage.map_coordinates(smooth[z + d], at, order=1, mode="mirror") * 2 - 0.5, 0, 1)
            bright = 0.7 if d == 0 else 0.1 + shine * math.exp(-d / 8)
            picture += open_ * there * (bright - 0.1)
            open_ *= 1 - there
        grey[z] = ndimage.gaussian_filter(picture, 0.7)
    return (grey + noise * np.random.default_rng(seed).standard_normal(shape)).clip(0, 1).astype(np.float32)


def camera_stack(tilt_deg, shape=(32, 80, 128), *, seed=0, **options):
    """Return a foreshortened stack of `shape` as the camera at `tilt_deg` takes it."""
    tilt = math.radians(tilt_deg)
    height = math.ceil(shape[1] / math.cos(tilt) + DEEPEST * math.tan(tilt)) + 24
    solid = blobs((shape[0] + DEEPEST, height, shape[2] + 24), seed=seed)
    return look(solid, shape, slope=math.tan(tilt), squeeze=math.cos(tilt), seed=seed, **options)


def walk(n, *, step=0.5, jitter=0.2, seed=0):
    """Return a random path (n, 2) of mean 0."""
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(0, step, (n, 2)), axis=0) + rng.normal(0, jitter, (n, 2))
    return path - path.mean(axis=0)
