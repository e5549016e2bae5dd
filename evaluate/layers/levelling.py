"""The form of a surface: polynomials of the two coordinates of the plan, by least squares or least deviations."""

import numpy as np

__all__ = ["fit_form", "fit_median_form"]

TURNS = 100
# In voxels along the axis: heights are no better known, so that smaller deviations weigh as least squares do.
SOFTENING = 0.05


def fit_form(heights: np.ndarray, weights: np.ndarray, degree: int) -> np.ndarray:
    """Fit a polynomial of total degree `degree` to heights by weighted least squares.

    Parameters
    ----------
    heights, weights : ndarray, shape (A, B)
        Columns of weight 0 do not count; one at least does.
    degree : int
        0 is the mean, 1 a plane.

    Returns
    -------
    ndarray of float64, shape (A, B)
        The polynomial, everywhere. Where the columns that count lie on a line or a point, of all polynomials that fit
        them alike, the one that differs least from their mean.
    """
    rows, columns = (np.polynomial.legendre.legvander(np.linspace(-1, 1, n), degree) for n in heights.shape)
    terms = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    weights = weights.astype(np.float64)
    # Products of two row terms, then of two column terms: no array larger than the plan is made.
    pairs = np.einsum("yi,yk->iky", rows, rows) @ weights
    moments = np.einsum("ikx,xj,xl->ijkl", pairs, columns, columns, optimize=True)
    # About the mean, so that where slopes are free they are none.
    middle = float((weights * heights).sum() / weights.sum())
    right = rows.T @ (weights * (heights - middle)) @ columns
    matrix = np.array([[moments[i, j, k, m] for k, m in terms] for i, j in terms])
    solution = np.linalg.lstsq(matrix, np.array([right[i, j] for i, j in terms]), rcond=None)[0]
    coefficients = np.zeros((degree + 1, degree + 1))
    for (i, j), value in zip(terms, solution, strict=True):
        coefficients[i, j] = value
    return middle + rows @ coefficients @ columns.T


def fit_median_form(heights: np.ndarray, valid: np.ndarray, degree: int) -> np.ndarray:
    """Fit the polynomial from which heights in voxels deviate least, in the sum of absolute values.

    It does not follow what stands out over less than half of the plan. Degree 0 is the median; higher ones are found
    by reweighted least squares, deviations within half a voxel softened.

    Parameters
    ----------
    heights : ndarray, shape (A, B)
    valid : ndarray of bool, shape (A, B)
        Columns that count; at least one.
    degree : int

    Returns
    -------
    ndarray of float64, shape (A, B)
    """
    if degree == 0:
        return np.full(heights.shape, float(np.median(heights[valid])))
    form = fit_form(heights, valid, degree)
    for _ in range(TURNS):
        weights = valid / np.maximum(np.abs(heights - form), SOFTENING)
        before, form = form, fit_form(heights, weights, degree)
        if np.abs(form - before).max() < 1e-3:
            break
    return form
