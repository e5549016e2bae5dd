"""Closed forms: what Boolean models and cut Gaussian fields are on average, in volume, surface, curvature, topology."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
from scipy.special import elliprg, ndtr, ndtri, owens_t

from synth.exact_counts import check_fractions
from synth.gaussian import correlation_function, gradient_moment
from synth.size_laws import frozen_distribution

__all__ = [
    "BooleanModel",
    "ClosedForm",
    "boolean_model",
    "gaussian_bands",
    "gaussian_level_set",
    "gaussian_polygons",
    "intersection",
]

Array = np.ndarray
# Gauss-Legendre nodes and weights on [0, 1]; the integrands are smooth.
NODES, WEIGHTS = (0.5 * (x + shift) for x, shift in zip(np.polynomial.legendre.leggauss(48), (1.0, 0.0), strict=True))
# Of an angle; corners on one line are allowed.
ROUNDING = 1e-9
# No Gaussian variable is further from 0 than this.
FAR = 9.0
# A law of diameters is integrated between these survival probabilities, one panel after the other.
PANELS = np.concatenate([1 - 10.0 ** -np.arange(15, 1, -1), np.linspace(0.98, 0.02, 25), 10.0 ** -np.arange(2, 16)])
# The last panel may hold this much of the mean volume.
LARGEST_TAIL = 1e-6


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """Expected densities of a stationary random set in an infinite volume, lengths in voxels.

    Attributes
    ----------
    volume_fraction : float
    specific_surface : float
        Surface per volume of the whole, in 1/voxel; infinite where the surface is rough on all scales.
    mean_curvature : float
        H = ∫ ½ (1/R1 + 1/R2) dS per volume, in 1/voxel²; 4πR of a ball, positive where the set is convex. nan where
        the surface is infinite.
    euler_density : float
        Components minus tunnels plus enclosed cavities, per volume, in 1/voxel³. nan where the surface is infinite.
    isotropic : bool
        Whether all directions are alike.

    Notes
    -----
    The conventions are those of `evaluate.minkowski`, whose ``"interior"`` and ``"periodic"`` densities estimate these.
    For smooth sets (level sets and bands) all four converge as the voxels shrink. Where surfaces cross (overlapping
    balls, intersections, polygons) volume and surface do, but curvature and Euler number do not, because crevices
    narrower than a voxel are left at every resolution [1]_: of the pores between equal balls at a porosity of 0.45 the
    voxels have 1.4 (connectivity 26) to 1.8 (6) times the Euler density, however large the balls.

    References
    ----------
    .. [1] J. Ohser, W. Nagel, K. Schladitz, "Miles formulae for Boolean models observed on lattices", Image Anal.
       Stereol. 28 (2009) 77.
    """

    volume_fraction: float
    specific_surface: float
    mean_curvature: float
    euler_density: float
    isotropic: bool = True
    pair_probability: Callable[[Array], Array] = field(default=np.zeros_like, repr=False)

    def two_point(self, r: Any) -> Array:
        """Return S2: the probability that two points at a distance `r` both lie in the set.

        Parameters
        ----------
        r : array_like
            Distances in voxels, 0 or more.

        Returns
        -------
        ndarray of float64, shape of `r`
            Averaged over all directions. S2(0) is the volume fraction φ, the slope there minus a quarter of the
            specific surface, and S2 tends to φ² where r is large.

        Raises
        ------
        ValueError
            If a distance is negative or not finite.
        """
        distances = np.asarray(r, float)
        if not (np.isfinite(distances).all() and (distances >= 0).all()):
            raise ValueError("a distance r is negative or not finite; give distances in voxels, 0 or more")
        return self.pair_probability(distances.ravel()).reshape(distances.shape)

    def complement(self) -> "ClosedForm":
        """Return the closed form of all that is not in the set."""
        return ClosedForm(
            1 - self.volume_fraction, self.specific_surface, -self.mean_curvature, self.euler_density,
            self.isotropic, lambda r: 1 - 2 * self.volume_fraction + self.pair_probability(r),
        )  # fmt: skip

    def densities(self) -> dict[str, float]:
        """Return the four densities by name."""
        names = ("volume_fraction", "specific_surface", "mean_curvature", "euler_density")
        return {name: float(getattr(self, name)) for name in names}


@dataclass(frozen=True, eq=False)
class BooleanModel:
    """Closed forms of overlapping balls; made by `boolean_model`.

    Attributes
    ----------
    intensity : float
        Mean number of centres per voxel.
    mean_radius, mean_surface, mean_volume : float
        Of one ball: E[R], E[4πR²] and E[4πR³/3], in voxels.
    solid, pore : ClosedForm
        The union of the balls, and what they leave.
    """

    intensity: float
    mean_radius: float
    mean_surface: float
    mean_volume: float
    solid: ClosedForm
    pore: ClosedForm


def boolean_model(
    porosity: float | None = None, *, intensity: float | None = None, diameter_vox: Any, sigma: float = 0.3
) -> BooleanModel:
    r"""Work out the Boolean model of balls: Poisson centres, independent diameters, overlap.

    Parameters
    ----------
    porosity : float, optional
        Expected pore fraction p0, above 0 and below 1. Give this or `intensity`.
    intensity : float, optional
        Mean number λ of centres per voxel, above 0.
    diameter_vox : float, frozen scipy.stats distribution or mapping
        As in `synth.sphere_pack`: median of the lognormal diameters, in voxels, or the distribution of the diameters.
        What lies below 0 is cut off.
    sigma : float
        Standard deviation of the logarithm of the diameters; 0 makes all equal. Not used with a distribution.

    Returns
    -------
    BooleanModel

    Raises
    ------
    ValueError
        For arguments out of range, and for a law of diameters whose mean volume is infinite or lies far in its tail.

    Notes
    -----
    With the mean volume V, surface S and integral mean curvature M = 4πE[R] of a ball, Miles' formulas [1]_ for the
    solid are, with :math:`p_0 = e^{-\lambda V}`,

    .. math::
        S_V = p_0 \lambda S, \quad H_V = p_0 (\lambda M - \pi^2 \lambda^2 S^2 / 32), \quad
        \chi_V = p_0 (\lambda - \lambda^2 M S / 4 \pi + \pi \lambda^3 S^3 / 384),

    and for the pores the same with the opposite sign of H. S2 of the pores is
    :math:`p_0^2 \exp(\lambda \gamma(r))`, where :math:`\gamma(r) = E[\frac{\pi}{12} (4R + r)(2R - r)_+^2]` is the mean
    volume that a ball shares with itself moved by r: moments of the radii above r/2, for lognormal radii in closed
    form. `synth.sphere_pack` stops at the wanted porosity, so that its volumes scatter less than free ones.

    References
    ----------
    .. [1] S. N. Chiu, D. Stoyan, W. S. Kendall, J. Mecke, "Stochastic Geometry and its Applications", 3rd ed., 3.1.
    """
    moments = _radius_moments(diameter_vox, sigma)
    _, radius, square, cube = moments(np.zeros(1))[:, 0].tolist()
    volume, surface, curvature = 4 / 3 * np.pi * cube, 4 * np.pi * square, 4 * np.pi * radius
    rate = _intensity(porosity, intensity, volume)
    p0 = float(np.exp(-rate * volume))

    def pore_pairs(r: Array) -> Array:
        number, _, m2, m3 = moments(r / 2)
        shared = 4 / 3 * np.pi * (m3 - 0.75 * r * m2 + r**3 / 16 * number)
        return p0**2 * np.exp(rate * shared)

    pore = ClosedForm(
        volume_fraction=p0,
        specific_surface=p0 * rate * surface,
        mean_curvature=-p0 * (rate * curvature - np.pi**2 / 32 * (rate * surface) ** 2),
        euler_density=p0 * (rate - rate**2 * curvature * surface / (4 * np.pi) + np.pi / 384 * (rate * surface) ** 3),
        pair_probability=pore_pairs,
    )
    return BooleanModel(rate, radius, surface, volume, solid=pore.complement(), pore=pore)


def gaussian_level_set(
    fraction: float,
    *,
    length_vox: float,
    correlation: str = "gaussian",
    anisotropy: Sequence[float] = (1.0, 1.0, 1.0),
) -> ClosedForm:
    r"""Work out the highest (or lowest) `fraction` of a Gaussian field, cut at a fixed level.

    Parameters
    ----------
    fraction : float
        Volume fraction, above 0 and below 1.
    length_vox, correlation, anisotropy
        As in `synth.gaussian.gaussian_field`.

    Returns
    -------
    ClosedForm
        Of the phase of that fraction; the rest of the volume is its `complement`.

    Raises
    ------
    ValueError
        For arguments out of range or an unknown correlation function.

    Notes
    -----
    The set is {field ≥ u} with Φ(-u) = `fraction`. If λ is the variance of the field's slope along any direction [1]_,

    .. math::
        S_V = \frac{2}{\pi} \sqrt\lambda e^{-u^2/2}, \quad H_V = \frac{\lambda u}{\sqrt{2\pi}} e^{-u^2/2}, \quad
        \chi_V = \frac{\lambda^{3/2}}{4\pi^2} (u^2 - 1) e^{-u^2/2}.

    With λz, λy, λx along the axes, √λ becomes Carlson's R_G(λz, λy, λx), which is the mean slope; λ becomes
    R_G(λyλx, λxλz, λzλy), by Crofton's formula over all planes; λ^{3/2} becomes √(λzλyλx).
    S2 is φ² plus the integral of the bivariate normal density at (u, u) over its correlation from 0 to C(r).

    ``exponential`` fields have an infinite surface, which the answer states; their curvature and Euler density are nan.
    Fields that can be differentiated once only (``matern32``) have curvature and Euler densities as the limit of
    smoothed ones.

    References
    ----------
    .. [1] R. J. Adler, J. E. Taylor, "Random Fields and Geometry", Springer (2007), 15.10.
    """
    _check_fraction("fraction", fraction)
    scales = _scales(length_vox, correlation, anisotropy)
    return _cut_field([float(ndtri(1 - fraction))], fraction, scales)


def gaussian_bands(
    fractions: Sequence[float],
    *,
    length_vox: float,
    correlation: str = "gaussian",
    anisotropy: Sequence[float] = (1.0, 1.0, 1.0),
) -> tuple[ClosedForm, ...]:
    """Work out the phases that rising thresholds cut from one Gaussian field.

    Parameters
    ----------
    fractions : sequence of float
        Of the phases, from the lowest part of the field to the highest, adding up to 1.
    length_vox, correlation, anisotropy
        As in `synth.gaussian.gaussian_field`.

    Returns
    -------
    tuple of ClosedForm
        One a phase, in the order of `fractions`: those of `synth.gaussian_phases` by the rule ``truncated``.

    Raises
    ------
    ValueError
        For arguments out of range or an unknown correlation function.

    Notes
    -----
    The two surfaces of a band do not meet, so its densities are the sums of both, that of the upper one seen
    from below: the opposite sign of H. See `gaussian_level_set` for the formulas.
    """
    shares = check_fractions(fractions)
    scales = _scales(length_vox, correlation, anisotropy)
    levels = ndtri(np.cumsum(shares)[:-1]).tolist()
    edges = [levels[max(i - 1, 0) : i + 1] for i in range(len(shares))]
    phases = [_cut_field(edge, share, scales) for edge, share in zip(edges[1:], shares[1:], strict=True)]
    return (_cut_field([-levels[0]], shares[0], scales), *phases)


def gaussian_polygons(
    *polygons: tuple[Sequence[Sequence[float]], Sequence[Sequence[float]] | None],
    length_vox: float,
    correlation: str = "gaussian",
) -> ClosedForm:
    r"""Work out the set in which two independent Gaussian fields (T1, T2) lie in one of some convex polygons.

    Parameters
    ----------
    *polygons : (corners, rays)
        Convex, and nowhere touching each other. ``corners`` are points (T1, T2), counter-clockwise. ``rays`` are the
        two directions in which the polygon goes on for ever from its first and from its last corner, or None for a
        closed polygon.
    length_vox, correlation
        As in `synth.gaussian.gaussian_field`, the same for both fields.

    Returns
    -------
    ClosedForm

    Raises
    ------
    ValueError
        If a polygon is not convex and counter-clockwise, and for the other arguments out of range. Whether
        polygons touch is not checked.

    Notes
    -----
    Let γ(ρ) be the probability that (T1, T2) lies in a polygon or within ρ of it, and
    :math:`M_j = \gamma^{(j)}(0)`. The Gaussian kinematic formula [1]_ says, with the variance λ of a field's slope,

    .. math:: S_V = 4 \sqrt{\lambda / 2\pi} M_1, \quad H_V = \lambda M_2, \quad \chi_V = (\lambda / 2\pi)^{3/2} M_3.

    Along an edge γ grows by a strip, at a corner by a sector of a disc; both have elementary derivatives. S2 comes
    from Plackett's identity: its derivative by the correlation C is a double integral over the edges.
    A half-plane is a `gaussian_level_set`, a quarter-plane or a rectangle an `intersection` of two sets.

    References
    ----------
    .. [1] R. J. Adler, J. E. Taylor, "Random Fields and Geometry", Springer (2007), 15.9.
    """
    if not polygons:
        raise ValueError("there is no polygon; give one or more pairs (corners, rays)")
    parts = [_polygon(corners, rays) for corners, rays in polygons]
    edges = [edge for part in parts for edge in part.edges]
    scales = _scales(length_vox, correlation, (1.0, 1.0, 1.0))
    slope, volume = float(scales.slopes[0]), sum(part.measure() for part in parts)
    first, second, third = np.sum([part.tube_derivatives() for part in parts], axis=0).tolist()
    smooth = np.isfinite(slope)
    return ClosedForm(
        volume_fraction=volume,
        specific_surface=4 * float(np.sqrt(slope / (2 * np.pi))) * first,
        mean_curvature=slope * second if smooth else np.nan,
        euler_density=(slope / (2 * np.pi)) ** 1.5 * third if smooth else np.nan,
        pair_probability=lambda r: volume**2 + scales.average(r, lambda c: _edge_excess(edges, c)),
    )


def intersection(first: ClosedForm, second: ClosedForm) -> ClosedForm:
    r"""Work out the intersection of two independent stationary random sets, one of them isotropic.

    Parameters
    ----------
    first, second : ClosedForm
        For a union take the `complement` of the complements' intersection.

    Returns
    -------
    ClosedForm

    Raises
    ------
    ValueError
        If neither is isotropic: the formulas average over all rotations of one against the other.

    Notes
    -----
    The principal kinematic formula for densities [1]_:

    .. math::
        S = S_1 V_2 + V_1 S_2, \quad H = H_1 V_2 + V_1 H_2 + \frac{\pi^2}{16} S_1 S_2, \quad
        \chi = \chi_1 V_2 + V_1 \chi_2 + \frac{H_1 S_2 + S_1 H_2}{4 \pi}.

    It holds phase i of `synth.gaussian_phases` by the rule ``plurigaussian``: phase i of its own field, in
    all fields before it not the earlier phase.

    References
    ----------
    .. [1] R. Schneider, W. Weil, "Stochastic and Integral Geometry", Springer (2008), 9.4.
    """
    if not (first.isotropic or second.isotropic):
        raise ValueError("both sets are anisotropic; the intersection has a closed form if one of them is isotropic")
    v1, s1, h1, x1 = first.densities().values()
    v2, s2, h2, x2 = second.densities().values()
    return ClosedForm(
        volume_fraction=v1 * v2,
        specific_surface=s1 * v2 + v1 * s2,
        mean_curvature=h1 * v2 + v1 * h2 + np.pi**2 / 16 * s1 * s2,
        euler_density=x1 * v2 + v1 * x2 + (h1 * s2 + s1 * h2) / (4 * np.pi),
        isotropic=first.isotropic and second.isotropic,
        pair_probability=lambda r: first.pair_probability(r) * second.pair_probability(r),
    )


def _check_fraction(name: str, value: Any) -> None:
    if not (isinstance(value, Real) and 0 < float(value) < 1):
        raise ValueError(f"{name} is {value!r}; give a number above 0 and below 1")


def _check_positive(name: str, value: Any) -> None:
    if not (isinstance(value, Real) and 0 < float(value) < np.inf):
        raise ValueError(f"{name} is {value!r}; give a number above 0")


# The Boolean model


def _intensity(porosity: float | None, intensity: float | None, volume: float) -> float:
    if (porosity is None) == (intensity is None):
        raise ValueError(f"porosity is {porosity!r} and intensity is {intensity!r}; give one of the two")
    if porosity is not None:
        _check_fraction("porosity", porosity)
        return -float(np.log(porosity)) / volume
    _check_positive("intensity", intensity)
    return float(intensity or 0)


def _radius_moments(diameter: Any, sigma: float) -> Callable[[Array], Array]:
    """Return the function a -> E[R^k; R > a], shape (n,) -> (4, n), k from 0 to 3."""
    if isinstance(diameter, Mapping) or hasattr(diameter, "ppf"):
        return _integrated_moments(frozen_distribution(diameter))
    _check_positive("diameter_vox", diameter)
    if not 0 <= sigma <= 1:
        raise ValueError(f"sigma is {sigma!r}; give the standard deviation of the log diameters, 0 to 1")
    orders, mu = np.arange(4)[:, None], float(np.log(diameter / 2))

    def moments(above: Array) -> Array:
        with np.errstate(divide="ignore"):
            distance = mu + orders * sigma**2 - np.log(above)
        share = ndtr(distance / sigma) if sigma > 0 else (distance > 0).astype(float)
        return np.exp(orders * mu + 0.5 * (orders * sigma) ** 2) * share

    return moments


def _integrated_moments(law: Any) -> Callable[[Array], Array]:
    name = law.dist.name
    kept = float(law.sf(0.0))
    if not kept >= 0.99:
        raise ValueError(f"diameter_vox is '{name}', {1 - kept:.0%} of it not above 0; give positive diameters")
    ends = np.unique(np.concatenate([[max(law.support()[0], 0.0)], law.isf(PANELS), law.support()[1:]]))
    ends = ends[np.isfinite(ends) & (ends >= 0)]
    orders = np.arange(4)[:, None]

    def above(least: float) -> Array:
        panels = np.clip(ends, 2 * least, None)
        widths = np.diff(panels)
        diameters = panels[:-1, None] + widths[:, None] * NODES
        weights = (law.pdf(diameters) * widths[:, None] * WEIGHTS / kept).ravel()
        return (weights * (diameters.ravel() / 2) ** orders).sum(axis=1)

    whole, tail = above(0.0), above(float(ends[-2]) / 2)
    if not (np.isfinite(whole).all() and abs(whole[0] - 1) < LARGEST_TAIL and tail[3] < LARGEST_TAIL * whole[3]):
        raise ValueError(
            f"diameter_vox is '{name}', whose mean volume is infinite, lies far in its tail or comes from a density "
            "with poles; give a law with a smooth density that falls off faster"
        )
    return lambda least: np.array([above(float(a)) for a in least]).reshape(-1, 4).T


# Level sets of one field


@dataclass(frozen=True)
class _Scales:
    """Slopes (variance of the derivative along z, y, x) and correlation of a field."""

    slopes: Array
    length: float
    stretch: Array
    correlation: Callable[[Array], Array]

    def average(self, r: Array, function: Callable[[Array], Array]) -> Array:
        """Average function(C) at distance `r` over all directions."""
        if np.ptp(self.stretch) == 0:
            return function(self.correlation(r / (self.length * self.stretch[0])))
        # One octant of the sphere stands for all.
        cosine, turn = NODES[:, None], 0.5 * np.pi * NODES
        sine = np.sqrt(1 - cosine**2)
        directions = np.broadcast_arrays(cosine, sine * np.cos(turn), sine * np.sin(turn))
        squeezed = np.linalg.norm(
            [d / (self.length * a) for d, a in zip(directions, self.stretch, strict=True)], axis=0
        )
        shares = np.multiply.outer(WEIGHTS, WEIGHTS).ravel()
        return np.array([shares @ function(self.correlation(distance * squeezed.ravel())) for distance in r])


def _scales(length_vox: float, correlation: str, anisotropy: Sequence[float]) -> _Scales:
    _check_positive("length_vox", length_vox)
    stretch = np.asarray(anisotropy, float)
    if stretch.shape != (3,) or not (np.isfinite(stretch).all() and (stretch > 0).all()):
        raise ValueError(f"anisotropy is {anisotropy!r}; give three numbers (z, y, x) above 0")
    slopes = gradient_moment(correlation) / (length_vox * stretch) ** 2
    return _Scales(slopes, float(length_vox), stretch, correlation_function(correlation))


def _cut_field(levels: Sequence[float], fraction: float, scales: _Scales) -> ClosedForm:
    """Return the closed form of the field above its one level, or between its two."""
    z, y, x = scales.slopes.tolist()
    smooth = np.isfinite(scales.slopes).all()
    signs = (1.0, -1.0)[: len(levels)]
    densities = [_normal_density(u) for u in levels]
    first = sum(densities)
    second = sum(sign * u * f for sign, u, f in zip(signs, levels, densities, strict=True))
    third = sum((u * u - 1) * f for u, f in zip(levels, densities, strict=True))

    def pairs(r: Array) -> Array:
        return fraction**2 + scales.average(r, lambda c: _excess(levels, signs, c))

    return ClosedForm(
        volume_fraction=float(fraction),
        specific_surface=float(np.sqrt(8 / np.pi) * elliprg(z, y, x) * first) if smooth else np.inf,
        mean_curvature=float(elliprg(y * x, x * z, z * y) * second) if smooth else np.nan,
        euler_density=float(np.sqrt(z * y * x) * third / (2 * np.pi) ** 1.5) if smooth else np.nan,
        isotropic=bool(np.ptp(scales.stretch) == 0),
        pair_probability=pairs,
    )


def _normal_density(value: Any) -> Any:
    return np.exp(-0.5 * value * value) / np.sqrt(2 * np.pi)


def _excess(levels: Sequence[float], signs: Sequence[float], correlation: Array) -> Array:
    """Covariance of the indicators at two points: the bivariate normal density at the levels, over 0 to C.

    With C = sin θ the density's pole at C = 1 is gone.
    """
    angle = np.arcsin(np.clip(correlation, -1, 1))[:, None]
    sine, cosine = np.sin(angle * NODES), np.cos(angle * NODES)
    total = np.zeros(len(angle))
    for h, sign_h in zip(levels, signs, strict=True):
        for k, sign_k in zip(levels, signs, strict=True):
            exponent = h * k / (1 + sine) + 0.5 * ((h - k) / cosine) ** 2
            total += sign_h * sign_k * (np.exp(-exponent) @ WEIGHTS)
    return total * angle[:, 0] / (2 * np.pi)


# Polygons in the plane of two fields


@dataclass(frozen=True)
class _Edge:
    """The points distance · normal + s · along, s from start to end; the polygon lies on their left."""

    along: Array
    normal: Array
    distance: float
    start: float
    end: float


@dataclass(frozen=True)
class _Polygon:
    """Edges, counter-clockwise; corner i lies between edge i and the next one, where the normal turns by turns[i]."""

    edges: tuple[_Edge, ...]
    corners: Array
    turns: Array
    closed: bool

    def measure(self) -> float:
        """Probability: triangles between the origin and the edges, and the sector between the rays at infinity."""
        triangles = sum(_triangle_measure(edge) for edge in self.edges)
        return triangles + (0.0 if self.closed else max(np.pi - float(self.turns.sum()), 0.0) / (2 * np.pi))

    def tube_derivatives(self) -> tuple[float, float, float]:
        """First, second and third derivative of the probability by the width of a seam around the polygon."""
        first = second = third = 0.0
        for edge in self.edges:
            d = edge.distance
            share = float(_normal_density(d) * (ndtr(edge.end) - ndtr(edge.start)))
            first, second, third = first + share, second - d * share, third + (d * d - 1) * share
        for corner, turn, edge in zip(self.corners, self.turns, self.edges, strict=False):
            density = float(np.exp(-0.5 * corner @ corner) / (2 * np.pi))
            # The integral of the unit normals along the arc by which they turn.
            outward = np.sin(turn) * edge.normal + (1 - np.cos(turn)) * edge.along
            second += density * float(turn)
            third -= 2 * density * float(corner @ outward)
        return first, second, third


def _edge_excess(edges: Sequence[_Edge], correlation: Array) -> Array:
    """Covariance of the indicators at two points, each field correlated by `correlation` between them."""
    angles = np.arcsin(np.clip(correlation, -1, 1))
    return np.array([_excess_up_to(edges, angle) for angle in angles.tolist()])


def _excess_up_to(edges: Sequence[_Edge], angle: float) -> float:
    sine, cosine = np.sin(angle * NODES)[:, None], np.cos(angle * NODES)[:, None]
    total = np.zeros(len(NODES))
    for edge in edges:
        start, end = max(edge.start, -FAR), min(edge.end, FAR)
        # Nodes crowd at the ends, where near C = 1 the next edge is felt.
        s = start + (end - start) * NODES**2 * (3 - 2 * NODES)
        weights = max(end - start, 0.0) * 6 * NODES * (1 - NODES) * WEIGHTS
        weights = weights * _normal_density(s) * _normal_density(edge.distance)
        points = edge.distance * edge.normal + s[:, None] * edge.along
        for other in edges:
            normal = _normal_density((other.distance - sine * (points @ other.normal)) / cosine)
            centre = sine * (points @ other.along)
            along = ndtr((other.end - centre) / cosine) - ndtr((other.start - centre) / cosine)
            total += float(edge.normal @ other.normal) * ((normal * along) @ weights)
    return angle * float(total @ WEIGHTS)


def _triangle_measure(edge: _Edge) -> float:
    """Probability of the triangle between the origin and an edge, negative if the edge faces the origin."""
    d = abs(edge.distance)
    if d == 0:
        return 0.0
    ends = np.array([edge.start, edge.end]) / d
    parts = np.arctan(ends) / (2 * np.pi) - owens_t(d, ends)
    return float(np.sign(edge.distance) * (parts[1] - parts[0]))


def _polygon(corners: Any, rays: Any) -> _Polygon:
    points = np.asarray(corners, float)
    least = 3 if rays is None else 1
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < least or not np.isfinite(points).all():
        raise ValueError(f"corners are {corners!r}; give {least} or more finite points (T1, T2)")
    steps, starts, ends = np.roll(points, -1, axis=0) - points, points, np.roll(points, -1, axis=0)
    if rays is not None:
        directions = np.asarray(rays, float)
        if directions.shape != (2, 2) or not np.isfinite(directions).all():
            raise ValueError(f"rays are {rays!r}; give two directions (T1, T2)")
        steps = np.concatenate([-directions[:1], steps[:-1], directions[1:]])
        starts, ends = np.concatenate([points[:1], points]), points
    angles = np.arctan2(steps[:, 1], steps[:, 0])
    turns = (np.diff(angles, append=angles[:1]) + ROUNDING) % (2 * np.pi) - ROUNDING
    turns = turns[: len(ends)]
    most = 2 * np.pi if rays is None else np.pi
    if not (np.any(steps, axis=1).all() and (turns < np.pi).all() and turns.sum() < most + 1e-6):
        raise ValueError("the corners and rays make no convex polygon; give a convex one, counter-clockwise")
    edges = [_edge(step, start) for step, start in zip(steps, starts, strict=True)]
    if rays is not None:
        edges[0] = replace(edges[0], start=-np.inf, end=edges[0].start)
        edges[-1] = replace(edges[-1], end=np.inf)
    return _Polygon(tuple(edges), ends, turns, closed=rays is None)


def _edge(step: Array, start: Array) -> _Edge:
    along = step / np.linalg.norm(step)
    normal = np.array([along[1], -along[0]])
    return _Edge(along, normal, float(normal @ start), float(along @ start), float(along @ (start + step)))
