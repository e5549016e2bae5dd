"""Pictures of meshes: in 3-D with every facet, and the lines in which they cut a plane of the volume."""

import io

import numpy as np

from evaluate import Mesh
from poreforge.report import Picture
from poreforge.views import Look, Scene, Surface, encoded_png, render
from poreforge.views.pyvista_scene import import_pyvista
from volume import Volume

__all__ = ["LARGEST_SIDE", "MOST_FACES", "can_draw_meshes", "draw_cut", "draw_mesh"]

CUT_COLOUR, BODY_COLOUR = "#d1495b", "#d4b483"
# Of a mesh with more faces a corner is drawn in 3-D, of so many voxels a side: otherwise no facet could be seen.
MOST_FACES, LARGEST_SIDE = 400_000, 96
LOOK = Look(size_px=(440, 420), ruler=False, legend=False)


def can_draw_meshes() -> bool:
    """Return whether PyVista is installed."""
    try:
        import_pyvista()
    except ValueError:
        return False
    return True


def draw_mesh(mesh: Mesh, labels: Volume, name: str) -> Picture:
    """Draw a mesh in 3-D, each facet flat.

    Parameters
    ----------
    mesh : Mesh
        In the coordinates of `evaluate.reconstruct`.
    labels : Volume
        Whose surface it is. Of a mesh with more than `MOST_FACES` faces the corner is drawn that is nearest to the eye,
        at large z, small y and large x, of at most `LARGEST_SIDE` voxels a side.
    name : str
        Of the method.

    Raises
    ------
    ValueError
        If PyVista is not installed.
    """
    size = np.array(labels.voxel_size_um or (1.0, 1.0, 1.0))
    shape = np.array(labels.shape)
    side = np.minimum(shape, LARGEST_SIDE) if len(mesh.faces) > MOST_FACES else shape
    first = np.where([True, False, True], shape - side, 0)
    corners = (mesh.vertices + size / 2)[mesh.faces] - first * size
    # Beyond the border of the volume nothing is cut: hulls and dual contouring may reach a little further.
    low, high = np.where(first > 0, 0, -np.inf), np.where(first + side < shape, side * size, np.inf)
    corners = corners[((corners >= low) & (corners <= high)).all(axis=(1, 2))]
    scene = Scene((_faceted(corners),), tuple((side * size)[::-1].tolist()), "µm" if labels.voxel_size_um else "voxel")
    return Picture(encoded_png(render(scene, LOOK)), f"The mesh by {name}.", name)


def _faceted(corners: np.ndarray) -> Surface:
    """Return triangles, shape (F, 3, 3) as (z, y, x), as a surface whose facets share no vertices."""
    # With the components in the order (x, y, z) the faces have to be turned round.
    points = corners[:, ::-1, ::-1].astype(np.float32)
    normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    return Surface(
        name="",
        points=points.reshape(-1, 3),
        faces=np.arange(3 * len(points), dtype=np.int32).reshape(-1, 3),
        normals=np.repeat(normals, 3, axis=0),
        colour=BODY_COLOUR,
        shade=np.ones(3 * len(points), np.float32),
    )


def draw_cut(labels: Volume, title: str, mesh: Mesh | None = None) -> Picture:
    """Draw the plane in the middle along z, bright where labels are not 0, and the lines in which a mesh cuts it."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure as Canvas

    size = np.array(labels.voxel_size_um or (1.0, 1.0, 1.0))
    depth, height, width = labels.shape
    canvas = Canvas(figsize=(3.6, 3.6 * np.clip(height * size[1] / (width * size[2]), 0.2, 5)))
    axes = canvas.add_axes((0, 0, 1, 1))
    axes.imshow(0.35 + 0.55 * (labels.array[depth // 2] > 0), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if mesh is not None:
        # Beside the voxels' centres, where marching cubes has no vertices.
        lines = _cut_lines(Mesh(mesh.vertices / size, mesh.faces), depth // 2 + 0.2)
        axes.add_collection(LineCollection(list(lines[:, :, ::-1]), colors=CUT_COLOUR, linewidths=1.2))
    axes.set(xlim=(-1, width), ylim=(height, -1), aspect=size[1] / size[2])
    axes.set_axis_off()
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    alt = "The middle plane" if mesh is None else f"Where the mesh by {title} cuts the middle plane"
    return Picture(buffer.getvalue(), f"{alt}.", title)


def _cut_lines(mesh: Mesh, z: float) -> np.ndarray:
    """Return the pieces (y, x) of the lines in which the faces cut a plane, shape (N, 2, 2)."""
    corners = mesh.vertices[mesh.faces]
    above = corners[:, :, 0] > z
    corners, above = corners[above.any(axis=1) & ~above.all(axis=1)], above[above.any(axis=1) & ~above.all(axis=1)]
    # The corner on a side of its own; the two edges from it are cut.
    rows, alone = np.arange(len(corners)), np.where(above.sum(axis=1) == 1, above.argmax(axis=1), above.argmin(axis=1))
    tip = corners[rows, alone]
    ends = []
    for other in (1, 2):
        foot = corners[rows, (alone + other) % 3]
        share = (z - tip[:, 0]) / (foot[:, 0] - tip[:, 0])
        ends.append(tip[:, 1:] + share[:, None] * (foot - tip)[:, 1:])
    return np.stack(ends, axis=1)
