"""What a triangle mesh is."""

import dataclasses

import numpy as np

__all__ = ["Mesh"]


@dataclasses.dataclass(frozen=True, eq=False)
class Mesh:
    """A surface made of triangles.

    The components of each vertex are in the order (z, y, x), and a face is outward if the cross product of its edges,
    taken in that order, points out. Swapping the components to (x, y, z) turns every face round.

    Parameters
    ----------
    vertices : array_like of float, shape (V, 3)
        Positions (z, y, x), in voxels or in µm.
    faces : array_like of int, shape (F, 3)
        Indices of the three vertices of each triangle.

    Raises
    ------
    ValueError
        Arrays of another shape, vertices that are not finite, faces that name a vertex which is not there.
    """

    vertices: np.ndarray
    faces: np.ndarray

    def __post_init__(self) -> None:
        vertices, faces = np.asarray(self.vertices, dtype=np.float64), np.asarray(self.faces)
        if vertices.ndim != 2 or vertices.shape[1] != 3:
            raise ValueError(f"vertices have shape {vertices.shape}; (V, 3) is accepted, components (z, y, x)")
        if not np.isfinite(vertices).all():
            raise ValueError("vertices hold NaN or infinite positions; every position must be finite")
        if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
            raise ValueError(f"faces have shape {faces.shape} and dtype {faces.dtype}; (F, 3) integers are accepted")
        if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise ValueError(f"faces name vertices {faces.min()} to {faces.max()}, but there are {len(vertices)}")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "faces", faces.astype(np.int64, copy=False))

    @property
    def area_vectors(self) -> np.ndarray:
        """Normal of each face, as long as its area, shape (F, 3)."""
        first, second, third = np.moveaxis(self.vertices[self.faces], 1, 0)
        return np.cross(second - first, third - first) / 2

    @property
    def area(self) -> float:
        """Sum of the triangles' areas."""
        return float(np.linalg.norm(self.area_vectors, axis=1).sum())

    @property
    def volume(self) -> float:
        """Enclosed volume: positive if the faces are outward, meaningful only of a watertight mesh."""
        if not len(self.faces):
            return 0.0
        # By Gauss's theorem, from a point of the surface, so that little is lost to rounding.
        offsets = self.vertices[self.faces[:, 0]] - self.vertices[0]
        return float(np.einsum("fi,fi->", offsets, self.area_vectors)) / 3

    @property
    def is_watertight(self) -> bool:
        """Whether every edge belongs to exactly two faces.

        A mesh of noise can be closed and still have edges with four faces, where two bodies touch; it is then False.
        """
        import trimesh

        return bool(trimesh.Trimesh(self.vertices, self.faces, process=False, validate=False).is_watertight)
