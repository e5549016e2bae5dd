"""Closed surfaces with a vertex for each patch of surface in a cell: voxel faces, and dual contouring."""

import functools
import itertools

import numpy as np

from evaluate.surfaces.mesh import Mesh

__all__ = ["contour_dually", "voxel_faces"]

# The corners of a cell as (z, y, x); a corner's place in the list is its bit in the code.
CORNERS = list(itertools.product((0, 1), repeat=3))


def voxel_faces(inside: np.ndarray, spacing: tuple[float, float, float]) -> Mesh:
    """Return the faces between the voxels inside and the rest, two triangles each.

    Parameters
    ----------
    inside : ndarray of bool, shape (Z, Y, X)
        What lies beyond the border is outside.
    spacing : (float, float, float)
        Edge lengths of a voxel.

    Returns
    -------
    Mesh
        As in `contour_dually`, the vertices at the corners of the voxels.
    """
    from evaluate.surfaces.dual_kernels import cell_codes

    n_patches, patches, _ = _patch_tables()
    padded = np.pad(inside, 1).view(np.uint8)
    codes, first, _ = cell_codes(padded, n_patches)
    cells = np.argwhere(n_patches[codes] > 0)
    # Cell i lies between the padded voxels i and i + 1, which are i - 1 and i of the volume.
    vertices = np.repeat(cells - 0.5, n_patches[codes[tuple(cells.T)]], axis=0) * spacing
    return _joined(padded, (codes, first, patches), vertices)


def contour_dually(field: np.ndarray, level: float, spacing: tuple[float, float, float]) -> Mesh:
    """Contour a field by a quad round each crossing of a lattice edge, its corners where the tangent planes meet.

    Parameters
    ----------
    field : ndarray of float32, shape (Z, Y, X)
        Above `level` is inside. The outermost layer must be outside.
    level : float
    spacing : (float, float, float)
        Distances of the lattice's points.

    Returns
    -------
    Mesh
        Closed and a manifold whatever the field: each edge has two faces, and the faces round a vertex are one fan.
        Voxels inside that touch at an edge or a corner alone are apart. Vertices in the field's own coordinates.
    """
    from evaluate.surfaces.dual_kernels import cell_codes, hermite_vertices

    n_patches, patches, _ = _patch_tables()
    inside = (field > level).view(np.uint8)
    codes, first, count = cell_codes(inside, n_patches)
    vertices = hermite_vertices(field, level, np.array(spacing), codes, first, patches, count)
    return _joined(inside, (codes, first, patches), vertices)


def _joined(inside: np.ndarray, cells: tuple[np.ndarray, np.ndarray, np.ndarray], vertices: np.ndarray) -> Mesh:
    from evaluate.surfaces.dual_kernels import crossing_quads

    codes, first, patches = cells
    quads, sides = crossing_quads(inside, codes, first, patches, _patch_tables()[2])
    pinched = (sides >= 0).any(axis=1)
    faces = _two_triangles(vertices, quads[~pinched])
    if pinched.any():
        middles, extra = _fans(quads[pinched], sides[pinched], len(vertices))
        vertices = np.concatenate([vertices, vertices[middles].mean(axis=1)])
        faces = np.concatenate([faces, extra])
    return Mesh(vertices, faces)


def _two_triangles(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Cut each quad along its shorter diagonal, (Q, 4) to (2 Q, 3)."""
    a, b, c, d = quads.T
    across = np.linalg.norm(vertices[a] - vertices[c], axis=1) <= np.linalg.norm(vertices[b] - vertices[d], axis=1)
    first = np.where(across, (a, b, c), (b, c, d))
    second = np.where(across, (a, c, d), (b, d, a))
    return np.concatenate([first.T, second.T])


def _fans(quads: np.ndarray, sides: np.ndarray, n_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut up the quads that run through a pinch, with a vertex of its own for each sheet there.

    A pinch is a side that two sheets of the surface have in common; undivided, its edge would have four faces.

    Returns
    -------
    ends : ndarray of int, shape (M, 2)
        The vertices halfway between which each new one lies.
    faces : ndarray of int, shape (F, 3)
    """
    _, where, names = np.unique(sides, return_index=True, return_inverse=True)
    pairs = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    # The first of the names is -1, sides without a pinch, if there are any.
    offset = int(sides.min() < 0)
    middle = np.where(sides >= 0, n_vertices + names.reshape(sides.shape) - offset, np.roll(quads, -1, axis=1))
    polygons = np.stack([quads, middle], axis=-1).reshape(len(quads), 8)
    start = 2 * (sides >= 0).argmax(axis=1) + 1
    polygons = np.take_along_axis(polygons, (start[:, None] + np.arange(8)) % 8, axis=1)
    fans = np.stack([np.repeat(polygons[:, :1], 6, axis=1), polygons[:, 1:-1], polygons[:, 2:]], axis=-1).reshape(-1, 3)
    return pairs[where[offset:]], fans[fans[:, 1] != fans[:, 2]]


@functools.cache
def _patch_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what each of the 256 codes of a cell holds.

    Returns
    -------
    n_patches : ndarray of uint8, shape (256,)
    patches : ndarray of int8, shape (256, 12)
        The patch that each of the cell's 12 edges crosses, -1 if none. Edge ``4 a + 2 j + k`` runs along the axis a at
        j along the next axis and k along the one after.
    pinched : ndarray of bool, shape (256, 6)
        Whether one patch runs twice through the face ``2 a + side``.
    """
    n_patches, patches = np.zeros(256, np.uint8), np.full((256, 12), -1, np.int8)
    pinched = np.zeros((256, 6), bool)
    for code in range(256):
        links = {face: _links(code, *divmod(face, 2)) for face in range(6)}
        groups = {edge: {edge} for pairs in links.values() for pair in pairs for edge in pair}
        for one, other in itertools.chain.from_iterable(links.values()):
            union = groups[one] | groups[other]
            groups.update(dict.fromkeys(union, union))
        numbers: dict[frozenset[int], int] = {}
        for edge in sorted(groups):
            patches[code, edge] = numbers.setdefault(frozenset(groups[edge]), len(numbers))
        n_patches[code] = len(numbers)
        for face, pairs in links.items():
            pinched[code, face] = len(pairs) == 2 and len({patches[code, pair[0]] for pair in pairs}) == 1
    return n_patches, patches, pinched


def _links(code: int, normal: int, side: int) -> list[tuple[int, int]]:
    """Return the pairs of edges that the surface joins across a face of a cell.

    Where two corners inside lie diagonally, each is cut off by itself.
    """
    b, c = (normal + 1) % 3, (normal + 2) % 3

    def is_inside(u: int, v: int) -> bool:
        corner = [0, 0, 0]
        corner[normal], corner[b], corner[c] = side, u, v
        return bool(code >> CORNERS.index((corner[0], corner[1], corner[2])) & 1)

    # Along b at v = 0, 1: of the other two axes of that edge c comes first; along c at u = 0, 1: the normal does.
    along_b = [4 * b + 2 * v + side for v in (0, 1)]
    along_c = [4 * c + 2 * side + u for u in (0, 1)]
    crossed = [along_b[v] for v in (0, 1) if is_inside(0, v) != is_inside(1, v)]
    crossed += [along_c[u] for u in (0, 1) if is_inside(u, 0) != is_inside(u, 1)]
    if len(crossed) == 4:
        return [(along_b[v], along_c[u]) for u in (0, 1) for v in (0, 1) if is_inside(u, v)]
    return [(crossed[0], crossed[1])] if crossed else []
