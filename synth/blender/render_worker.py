"""The process that Blender runs in: ``python -m synth.blender.render_worker FOLDER`` turns a job into pictures."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from synth.blender.block import SIDE_MARGIN, CutBlock, Patch, cut_block
from synth.blender.process import IMPORT_FAILED

__all__ = ["main"]

BACKDROP = 0.06


def main(folder: str) -> int:
    """Render ``labels.npy`` and ``job.json`` of `folder` into its ``grey.npy``; return the exit status."""
    try:
        import bpy  # noqa: F401
    except ImportError as error:
        print(error, flush=True)
        return IMPORT_FAILED
    job = json.loads(Path(folder, "job.json").read_text(encoding="utf-8"))
    labels = np.load(Path(folder, "labels.npy"), mmap_mode="r")
    scene = _Scene(labels.shape, job, Path(folder, "slice.exr"))
    grey = np.stack([scene.render(_cut(labels, z, job), z) for z in job["slices"]])
    np.save(Path(folder, "grey.npy"), grey)
    return 0


def _cut(labels: np.ndarray, z: int, job: dict[str, Any]) -> CutBlock:
    return cut_block(
        labels,
        z,
        np.array(job["brightness"], dtype=np.float32),
        depth_vox=job["depth_vox"],
        tilt_deg=job["tilt_deg"],
        smoothing_vox=job["settings"]["smoothing_vox"],
        edge=job["settings"]["edge"],
    )


class _Scene:
    """One Blender scene; the block in it is replaced for every cut.

    Blender's axes are X = x, Y = -y, Z = -z, in voxels of the whole volume: a cut face looks towards +Z, and texture
    stays with the material from cut to cut.
    """

    def __init__(self, shape: tuple[int, ...], job: dict[str, Any], picture: Path) -> None:
        import bpy

        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self.shape, self.job, self.picture = shape, job, picture
        self._set_renderer()
        _set_dome(self.scene, 1 - job["settings"]["sun"])
        self._add_sun()
        self.camera = self._add_camera()
        self.flat = _face_material(job)
        self.rough = _wall_material(job)
        self.parts: list[Any] = []

    def render(self, block: CutBlock, z: int) -> np.ndarray:
        """Return the float32 (H, W) brightness of the cut at layer `z`."""
        import bpy

        self._replace_block(block, z)
        self._aim_camera(z)
        # Each cut has its own seed, so that it does not matter which others are rendered.
        self.scene.cycles.seed = (self.job["seed"] + 7919 * z) % (2**31 - 1)
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(str(self.picture))
        image.colorspace_settings.name = "Non-Color"
        columns, rows = image.size
        pixels = np.empty(rows * columns * image.channels, dtype=np.float32)
        image.pixels.foreach_get(pixels)
        channels = image.channels
        bpy.data.images.remove(image)
        # Blender's first row is the lowest one.
        return pixels.reshape(rows, columns, channels)[::-1, :, 0].copy()

    def _set_renderer(self) -> None:
        render, cycles = self.scene.render, self.scene.cycles
        render.engine = "CYCLES"
        cycles.device = "CPU"
        cycles.samples = self.job["samples"]
        cycles.use_adaptive_sampling = False
        cycles.use_denoising = False
        cycles.pixel_filter_type = "BOX"
        cycles.max_bounces = cycles.diffuse_bounces = 2
        cycles.caustics_reflective = cycles.caustics_refractive = False
        render.resolution_y, render.resolution_x = self.job["shape"]
        render.resolution_percentage = 100
        threads = self.job["settings"]["threads"]
        render.threads_mode = "FIXED" if threads else "AUTO"
        if threads:
            render.threads = threads
        render.use_persistent_data = True
        render.film_transparent = False
        render.filepath = str(self.picture)
        render.image_settings.file_format = "OPEN_EXR"
        render.image_settings.color_depth = "32"
        render.image_settings.color_mode = "RGB"
        render.dither_intensity = 0.0
        self.scene.view_settings.view_transform = "Raw"

    def _add_sun(self) -> None:
        import bpy

        s = self.job["settings"]
        height, turn = math.radians(s["sun_elevation_deg"]), math.radians(s["sun_azimuth_deg"])
        lamp = bpy.data.lights.new("detector", "SUN")
        # The flat face receives `sun` of the whole light, whatever the height of the lamp.
        lamp.energy = math.pi * s["sun"] / math.sin(height)
        lamp.angle = math.radians(20.0)
        sun = bpy.data.objects.new("detector", lamp)
        sun.rotation_euler = (0.0, math.pi / 2 - height, turn)
        self.scene.collection.objects.link(sun)

    def _add_camera(self) -> Any:
        import bpy

        lens = bpy.data.cameras.new("column")
        lens.type = "ORTHO"
        lens.sensor_fit = "HORIZONTAL"
        lens.ortho_scale = self.shape[2]
        lens.clip_start, lens.clip_end = 0.1, 1e5
        camera = bpy.data.objects.new("column", lens)
        camera.rotation_euler = (-math.radians(self.job["tilt_deg"]), 0.0, 0.0)
        self.scene.collection.objects.link(camera)
        self.scene.camera = camera
        return camera

    def _aim_camera(self, z: int) -> None:
        tilt = math.radians(self.job["tilt_deg"])
        distance = 4.0 * max(self.shape)
        centre = (self.shape[2] / 2, -self.shape[1] / 2, -float(z))
        back = (0.0, math.sin(tilt), math.cos(tilt))
        self.camera.location = [c + distance * b for c, b in zip(centre, back, strict=True)]

    def _replace_block(self, block: CutBlock, z: int) -> None:
        import bpy

        for old in self.parts:
            mesh = old.data
            bpy.data.objects.remove(old)
            bpy.data.meshes.remove(mesh)
        pieces = [(block.face, self.flat), (block.rims, self.rough), (block.walls, self.rough)]
        self.parts = [self._add_object(patch, material) for patch, material in pieces if len(patch.corners)]
        # A pixel at the border of the face reaches half a pixel beyond it.
        half_pixel = self.shape[2] / self.job["shape"][1] / math.cos(math.radians(self.job["tilt_deg"])) / 2
        surround = self._add_object(_surround(self.shape, z, min(half_pixel, SIDE_MARGIN)), self.flat)
        # It hides what lies beside the face from the camera without taking light from the pores.
        surround.visible_shadow = surround.visible_diffuse = False
        self.parts.append(surround)
        self.rough.node_tree.nodes["cut"].inputs[1].default_value = -float(z)

    def _add_object(self, patch: Patch, material: Any) -> Any:
        import bpy

        made = bpy.data.objects.new("part", _mesh(patch))
        made.data.materials.append(material)
        self.scene.collection.objects.link(made)
        return made


def _mesh(patch: Patch) -> Any:
    import bpy

    mesh = bpy.data.meshes.new("part")
    n_faces, n_corners = patch.corners.shape
    mesh.vertices.add(len(patch.points))
    mesh.vertices.foreach_set("co", (patch.points[:, ::-1] * np.array([1, -1, -1], np.float32)).ravel())
    mesh.loops.add(n_faces * n_corners)
    mesh.loops.foreach_set("vertex_index", patch.corners.ravel())
    mesh.polygons.add(n_faces)
    mesh.polygons.foreach_set("loop_start", np.arange(n_faces, dtype=np.int32) * n_corners)
    mesh.attributes.new("brightness", "FLOAT", "POINT").data.foreach_set("value", patch.brightness)
    mesh.update(calc_edges=True)
    return mesh


def _surround(shape: tuple[int, ...], z: int, gap: float) -> Patch:
    """Return two dark plates in the plane of the cut, above and below its face, `gap` voxels away from it."""
    n_y = shape[1]
    far = 4.0 * max(shape)
    lifted = z - 0.01
    sides = [(-far, -gap, -far, far), (n_y + gap, n_y + far, -far, far)]
    points = [(lifted, y, x) for y0, y1, x0, x1 in sides for y, x in ((y0, x0), (y0, x1), (y1, x1), (y1, x0))]
    corners = np.arange(8, dtype=np.int32).reshape(2, 4)
    return Patch(np.array(points, np.float32), corners, np.full(8, BACKDROP, np.float32))


def _set_dome(scene: Any, strength: float) -> None:
    """Light from the half-space before the face only: a ray that leaves through the block's back sees black."""
    import bpy

    world = bpy.data.worlds.new("dome")
    scene.world = world
    world.use_nodes = True
    world.cycles.sampling_method = "MANUAL"
    world.cycles.sample_map_resolution = 64
    nodes, links = world.node_tree.nodes, world.node_tree.links
    direction = nodes.new("ShaderNodeTexCoord")
    parts = nodes.new("ShaderNodeSeparateXYZ")
    above = _math_node(world.node_tree, "GREATER_THAN", None, 0.0)
    scaled = _math_node(world.node_tree, "MULTIPLY", above.outputs[0], strength)
    links.new(direction.outputs["Generated"], parts.inputs[0])
    links.new(parts.outputs["Z"], above.inputs[0])
    links.new(scaled.outputs[0], nodes["Background"].inputs["Strength"])
    nodes["Background"].inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)


def _math_node(tree: Any, operation: str, *values: Any) -> Any:
    """Add a node that computes `operation` of sockets and numbers; ``None`` leaves an input open."""
    node = tree.nodes.new("ShaderNodeMath")
    node.operation = operation
    for socket, value in zip(node.inputs, values, strict=False):
        if isinstance(value, int | float):
            socket.default_value = value
        elif value is not None:
            tree.links.new(value, socket)
    return node


def _noise(tree: Any, size: float, seed: int, *, octaves: float) -> Any:
    """Return the socket of a solid texture in [0, 1] with features of `size` voxels, fixed to the material."""
    place = tree.nodes.new("ShaderNodeNewGeometry")
    noise = tree.nodes.new("ShaderNodeTexNoise")
    noise.noise_dimensions = "4D"
    tree.links.new(place.outputs["Position"], noise.inputs["Vector"])
    noise.inputs["W"].default_value = float(seed % 100_003) * 0.37
    noise.inputs["Scale"].default_value = 1.0 / size
    noise.inputs["Detail"].default_value = octaves
    return noise.outputs["Fac"]


def _material(name: str) -> tuple[Any, Any, Any]:
    """Return a matt material, its diffuse shader and the socket of the points' brightness."""
    import bpy

    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    end = tree.nodes.new("ShaderNodeOutputMaterial")
    matt = tree.nodes.new("ShaderNodeBsdfDiffuse")
    given = tree.nodes.new("ShaderNodeAttribute")
    given.attribute_name = "brightness"
    tree.links.new(matt.outputs[0], end.inputs["Surface"])
    return material, matt, given.outputs["Fac"]


def _face_material(job: dict[str, Any]) -> Any:
    """Make the polished cut: its brightness, with grain."""
    s = job["settings"]
    material, matt, brightness = _material("face")
    tree = material.node_tree
    grain = _noise(tree, s["grain_vox"], job["seed"], octaves=2.0)
    relief = _math_node(tree, "MULTIPLY_ADD", grain, 4 * s["grain"], 1 - 2 * s["grain"])
    level = _math_node(tree, "MULTIPLY", brightness, relief.outputs[0])
    tree.links.new(level.outputs[0], matt.inputs["Color"])
    return material


def _wall_material(job: dict[str, Any]) -> Any:
    """Make the rough pore wall: brighter edge-on to the beam, darker with depth."""
    s = job["settings"]
    material, matt, brightness = _material("wall")
    tree = material.node_tree
    level = _math_node(tree, "MULTIPLY", brightness, s["wall_brightness"])
    level = _math_node(tree, "MULTIPLY", level.outputs[0], _edge_on(tree, s["rim"]))
    level = _math_node(tree, "MULTIPLY", level.outputs[0], _fading(tree, s["escape_depth_vox"]))
    level = _math_node(tree, "MINIMUM", level.outputs[0], 0.95)
    tree.links.new(level.outputs[0], matt.inputs["Color"])
    if s["roughness"] > 0:
        bump = tree.nodes.new("ShaderNodeBump")
        bump.inputs["Strength"].default_value = min(s["roughness"], 1.0)
        bump.inputs["Distance"].default_value = 2.0
        tree.links.new(_noise(tree, 3.0, job["seed"] + 1, octaves=3.0), bump.inputs["Height"])
        tree.links.new(bump.outputs[0], matt.inputs["Normal"])
    return material


def _edge_on(tree: Any, rim: float) -> Any:
    """Return the socket of 1 + rim (1/cos - 1), with cos the angle between wall and beam, at least 0.2."""
    seen = tree.nodes.new("ShaderNodeNewGeometry")
    dot = tree.nodes.new("ShaderNodeVectorMath")
    dot.operation = "DOT_PRODUCT"
    tree.links.new(seen.outputs["Normal"], dot.inputs[0])
    tree.links.new(seen.outputs["Incoming"], dot.inputs[1])
    cosine = _math_node(tree, "ABSOLUTE", dot.outputs["Value"])
    cosine = _math_node(tree, "MAXIMUM", cosine.outputs[0], 0.2)
    inverse = _math_node(tree, "DIVIDE", 1.0, cosine.outputs[0])
    return _math_node(tree, "MULTIPLY_ADD", inverse.outputs[0], rim, 1 - rim).outputs[0]


def _fading(tree: Any, escape_depth: float) -> Any:
    """Return the socket of exp(-depth / escape_depth); the node "cut" holds where the cut is."""
    place = tree.nodes.new("ShaderNodeNewGeometry")
    parts = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(place.outputs["Position"], parts.inputs[0])
    above = _math_node(tree, "SUBTRACT", parts.outputs["Z"], 0.0)
    above.name = "cut"
    power = _math_node(tree, "DIVIDE", above.outputs[0], escape_depth)
    return _math_node(tree, "EXPONENT", power.outputs[0]).outputs[0]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
