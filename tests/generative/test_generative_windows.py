import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generative.windows import lay_windows


@st.composite
def layouts(draw):
    size = draw(st.tuples(*[st.integers(1, 7)] * 3))
    overlap = tuple(draw(st.integers(0, n - 1)) for n in size)
    return lay_windows(
        draw(st.tuples(*[st.integers(1, 12)] * 3)), size=size, overlap=overlap, periodic=draw(st.booleans())
    ), overlap


def corners(windows):
    return [corner for row in range(len(windows.starts[0])) for corner in windows.corners(row)]


@settings(max_examples=60, deadline=None)
@given(layouts())
def test_weights_are_positive_and_add_up_to_one_at_each_voxel(layout):
    windows, _ = layout
    total = np.zeros(windows.shape)
    for corner in corners(windows):
        weight = windows.weight(corner)
        assert weight.shape == windows.size
        assert weight.min() > 0
        where = np.ix_(*((c + np.arange(n)) % w for c, n, w in zip(corner, windows.size, windows.shape, strict=True)))
        np.add.at(total, where, weight)
    # Products of three float32 numbers, each rounded to 6e-8 of itself, and their products again.
    np.testing.assert_allclose(total, 1, atol=5 * 2**-23)


@settings(max_examples=60, deadline=None)
@given(layouts())
def test_windows_are_flush_with_the_faces_overlap_enough_and_are_no_more_than_needed(layout):
    windows, overlap = layout
    for starts, size, whole, shared in zip(windows.starts, windows.size, windows.shape, overlap, strict=True):
        steps = np.diff([*starts, starts[0] + whole] if windows.periodic else starts)
        assert starts[0] == 0
        assert all(step <= size - shared for step in steps)
        assert max(steps, default=0) - min(steps, default=0) <= 1
        if windows.periodic:
            assert (len(starts) - 1) * (size - shared) < whole
        else:
            assert starts[-1] + size == whole
            assert len(starts) == 1 or (len(starts) - 2) * (size - shared) + size < whole
    assert len(windows) == len(corners(windows)) == len(set(corners(windows)))


@pytest.mark.parametrize(
    ("shape", "periodic", "overlap"), [((6, 6, 6), False, 3), ((2, 6, 5), False, 0), ((6, 6, 6), True, 0)]
)
def test_a_window_alone_has_the_weight_one_exactly(shape, periodic, overlap):
    windows = lay_windows(shape, size=(6, 6, 6), overlap=overlap, periodic=periodic)
    assert len(windows) == 1
    assert windows.shape == (6, 6, 6)
    assert np.all(windows.weight((0, 0, 0)) == 1)


def test_weight_rises_smoothly_over_the_overlap_and_stays():
    windows = lay_windows((100, 16, 16), size=(40, 16, 16), overlap=10)
    assert windows.starts == ((0, 30, 60), (0,), (0,))
    rise = windows.weights[0][1, :10]
    np.testing.assert_allclose(rise, np.sin(np.pi / 2 * (np.arange(10) + 0.5) / 10) ** 2, rtol=1e-6)
    assert np.all(windows.weights[0][1, 10:30] == 1)
    assert np.all(windows.weights[0][0, :30] == 1)


def test_pieces_of_a_wrapping_window_join_to_the_window():
    windows = lay_windows((5, 9, 9), size=(12, 4, 4), overlap=0, periodic=True)
    for axis, start in itertools.chain.from_iterable([(a, s) for s in windows.starts[a]] for a in range(3)):
        seen = [
            pair
            for there, here in windows.pieces(start, axis)
            for pair in zip(range(there.start, there.stop), range(here.start, here.stop), strict=True)
        ]
        assert seen == [(i, (start + i) % windows.shape[axis]) for i in range(windows.size[axis])]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (0, 4, 4)}, r"shape is \(0, 4, 4\)"),
        ({"shape": (4, 4)}, r"shape is \(4, 4\)"),
        ({"shape": 4}, "shape is 4"),
        ({"size": (4, 4, 2.5)}, r"window is \(4, 4, 2.5\)"),
        ({"overlap": 4}, "must be smaller than the window"),
        ({"overlap": -1}, "overlap is .*at least 0"),
        ({"overlap": float("nan")}, "overlap is"),
        ({"overlap": (1, 1)}, r"overlap is \(1, 1\)"),
    ],
)
def test_windows_that_cannot_be_laid_are_refused(change, message):
    given = {"shape": (8, 8, 8), "size": (4, 4, 4), "overlap": 1} | change
    with pytest.raises(ValueError, match=message):
        lay_windows(given.pop("shape"), **given)
