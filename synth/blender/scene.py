"""One Blender scene for all cuts: at each, only what lies at the cut is made anew."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from synth.blender.face import cut_face
from synth.blender.materials import CUT, face_material, set_dome, wall_material
from synth.blender.patch import Patch
from synth.blender.walls import SIDE_MARGIN, Walls, reach

__all__ = ["NoGraphicsCardError", "Scene"]

BACKDROP = 0.06
# Behind the volume, where neither camera nor light looks.
OUT_OF_SIGHT = -1e5
GRAPHICS = ("OPTIX", "CUDA", "HIP", "METAL", "ONEAPI")


class NoGraphicsCardError(Exception):
    """Blender finds no graphics card that it can render with."""


class Scene:
    """A structure under light and camera.

    Blender's axes are X = x, Y = -y, Z = -z, in voxels of the whole volume: a cut face looks towards +Z, and texture
    stays with the material from cut to cut.

    Parameters
    ----------
    labels : (Z, Y, X) uint8
    job : mapping
        As `synth.blender.stack` makes it.
    picture : Path
        Where Blender may write a picture.
    """

    def __init__(self, labels: np.ndarray, job: dict[str, Any], picture: Path) -> None:
        import bpy

        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self.labels, self.job, self.picture = labels, job, picture
        settings = job["settings"]
        self.brightness = np.array(job["brightness"], dtype=np.float32)
        self.reach = reach(job["depth_vox"], job["tilt_deg"])
        self.walls = Walls(labels, self.brightness, reach_vox=self.reach, smoothing_vox=settings["smoothing_vox"])
        self._set_renderer()
        set_dome(self.scene, 1 - settings["sun"])
        self._add_sun()
        self.camera = self._add_camera()
        self.flat = face_material(settings, job["seed"])
        self.rough = wall_material(settings, job["seed"], job["depth_vox"])
        self.slabs: dict[int, list[Any]] = {}
        self.parts: list[Any] = []

    def render(self, z: int) -> np.ndarray:
        """Return the float32 (H, W) brightness of the cut at layer `z`."""
        import bpy

        self._renew_slabs(z)
        self._renew_cut(z)
        self._aim_camera(z)
        self.rough.node_tree.nodes[CUT].inputs[1].default_value = -float(z)
        # Each cut has its own seed, so that it does not matter which others are rendered.
        self.scene.cycles.seed = (self.job["seed"] + 7919 * z) % (2**31 - 1)
        bpy.ops.render.render(write_still=True)
        return self._read_picture()

    def _read_picture(self) -> np.ndarray:
        import bpy

        image = bpy.data.images.load(str(self.picture))
        image.colorspace_settings.name = "Non-Color"
        columns, rows = image.size
        channels = image.channels
        pixels = np.empty(rows * columns * channels, dtype=np.float32)
        image.pixels.foreach_get(pixels)
        bpy.data.images.remove(image)
        # Blender's first row is the lowest one.
        return pixels.reshape(rows, columns, channels)[::-1, :, 0].copy()

    def _set_renderer(self) -> None:
        settings, render, cycles = self.job["settings"], self.scene.render, self.scene.cycles
        render.engine = "CYCLES"
        cycles.device = "CPU"
        if settings["device"] == "gpu":
            _use_graphics_card()
            cycles.device = "GPU"
        cycles.samples = self.job["samples"]
        cycles.use_adaptive_sampling = False
        _set_denoiser(self.scene, on=settings["denoise"])
        # There is one lamp: a search among lamps costs time and brings nothing.
        cycles.use_light_tree = False
        cycles.pixel_filter_type = "BOX"
        cycles.max_bounces = cycles.diffuse_bounces = 2
        cycles.caustics_reflective = cycles.caustics_refractive = False
        # What has not changed since the last cut stays where Cycles has it.
        render.use_persistent_data = True
        render.threads_mode, render.threads = "FIXED", self.job["threads"]
        render.resolution_y, render.resolution_x = self.job["shape"]
        render.resolution_percentage = 100
        render.film_transparent = False
        render.filepath = str(self.picture)
        render.image_settings.file_format = "OPEN_EXR"
        render.image_settings.color_depth = "32"
        render.image_settings.color_mode = "RGB"
        render.image_settings.exr_codec = "NONE"
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
        lens.ortho_scale = self.labels.shape[2]
        lens.clip_start, lens.clip_end = 0.1, 1e5
        camera = bpy.data.objects.new("column", lens)
        camera.rotation_euler = (-math.radians(self.job["tilt_deg"]), 0.0, 0.0)
        self.scene.collection.objects.link(camera)
        self.scene.camera = camera
        return camera

    def _aim_camera(self, z: int) -> None:
        tilt = math.radians(self.job["tilt_deg"])
        _, n_y, n_x = self.labels.shape
        distance = 4.0 * max(self.labels.shape)
        centre = (n_x / 2, -n_y / 2, -float(z))
        back = (0.0, math.sin(tilt), math.cos(tilt))
        self.camera.location = [c + distance * b for c, b in zip(centre, back, strict=True)]

    def _renew_slabs(self, z: int) -> None:
        wanted = self.walls.behind(z, self.job["depth_vox"])
        for k in self.slabs.keys() - set(wanted):
            _remove(self.slabs.pop(k))
        for k in wanted:
            if k not in self.slabs:
                slab = self._add_object(self.walls.slab(k), self.rough)
                # Cycles keeps the search tree of a mesh that it sees twice, and builds anew that of all others.
                twin = slab.copy()
                twin.location = (0.0, 0.0, OUT_OF_SIGHT)
                self.scene.collection.objects.link(twin)
                self.slabs[k] = [slab, twin]

    def _renew_cut(self, z: int) -> None:
        """Make anew the face, its rims, the walls up to the first whole slab, and the surround."""
        _remove(self.parts)
        cut = cut_face(self.labels, z, self.brightness, reach_vox=self.reach, edge=self.job["settings"]["edge"])
        pieces = [(cut.face, self.flat), (cut.rims, self.rough), (self.walls.top(z), self.rough)]
        self.parts = [self._add_object(patch, material) for patch, material in pieces]
        # A pixel at the border of the face reaches half a pixel beyond it.
        shape, tilt = self.labels.shape, math.radians(self.job["tilt_deg"])
        half_pixel = shape[2] / self.job["shape"][1] / math.cos(tilt) / 2
        surround = self._add_object(_surround(shape, z, min(half_pixel, SIDE_MARGIN)), self.flat)
        # It hides what lies beside the face from the camera without taking light from the pores.
        surround.visible_shadow = surround.visible_diffuse = False
        self.parts.append(surround)

    def _add_object(self, patch: Patch, material: Any) -> Any:
        import bpy

        made = bpy.data.objects.new("part", _mesh(patch))
        made.data.materials.append(material)
        self.scene.collection.objects.link(made)
        return made


def _remove(objects: list[Any]) -> None:
    import bpy

    # With a mesh go the objects that show it.
    for mesh in {old.data for old in objects}:
        bpy.data.meshes.remove(mesh)


def _mesh(patch: Patch) -> Any:
    import bpy

    mesh = bpy.data.meshes.new("part")
    n_faces, n_corners = patch.corners.shape
    mesh.vertices.add(len(patch.points))
    mesh.vertices.foreach_set("co", _in_blender(patch.points))
    mesh.loops.add(n_faces * n_corners)
    mesh.loops.foreach_set("vertex_index", patch.corners.ravel())
    mesh.polygons.add(n_faces)
    mesh.polygons.foreach_set("loop_start", np.arange(n_faces, dtype=np.int32) * n_corners)
    mesh.attributes.new("brightness", "FLOAT", "POINT").data.foreach_set("value", patch.brightness)
    if patch.normals is not None:
        # The name under which Blender looks for normals that are given.
        normals = mesh.attributes.new("custom_normal", "FLOAT_VECTOR", "POINT")
        normals.data.foreach_set("vector", _in_blender(patch.normals))
    mesh.update(calc_edges=True)
    return mesh


def _in_blender(vectors: np.ndarray) -> np.ndarray:
    return (vectors[:, ::-1] * np.array([1, -1, -1], np.float32)).ravel()


def _surround(shape: tuple[int, ...], z: int, gap: float) -> Patch:
    """Return two dark plates in the plane of the cut, above and below its face, `gap` voxels away from it."""
    n_y = shape[1]
    far = 4.0 * max(shape)
    lifted = z - 0.01
    sides = [(-far, -gap, -far, far), (n_y + gap, n_y + far, -far, far)]
    points = [(lifted, y, x) for y0, y1, x0, x1 in sides for y, x in ((y0, x0), (y0, x1), (y1, x1), (y1, x0))]
    corners = np.arange(8, dtype=np.int32).reshape(2, 4)
    return Patch(np.array(points, np.float32), corners, np.full(8, BACKDROP, np.float32))


def _set_denoiser(scene: Any, *, on: bool) -> None:
    """Take noise out with Open Image Denoise, which is told colour and slope, so that texture and edges stay."""
    cycles = scene.cycles
    cycles.use_denoising = on
    if on:
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
        cycles.denoising_prefilter = "NONE"
        cycles.denoising_quality = "FAST"


def _use_graphics_card() -> None:
    """Switch on the graphics cards of the first kind that is there."""
    import bpy

    preferences = bpy.context.preferences.addons["cycles"].preferences
    for kind in GRAPHICS:
        try:
            preferences.compute_device_type = kind
        except TypeError:
            # This build of Blender does not know that kind.
            continue
        preferences.get_devices_for_type(kind)
        cards = [device for device in preferences.devices if device.type == kind]
        for device in preferences.devices:
            device.use = device.type == kind
        if cards:
            return
    raise NoGraphicsCardError
