"""Blender materials of the cut face and of the pore walls, and the light of the half-space before the face."""

from typing import Any

import numpy as np

__all__ = ["CUT", "face_material", "set_dome", "wall_material"]

# Name of the node whose second input says where the cut is.
CUT = "cut"
# No wall sends back all of the light.
WHITEST = 0.95
# Ratio of the texture's standard deviation in four dimensions, in which strengths are given, to that in three.
AS_FOUR_DIMENSIONS = 0.877


def face_material(settings: dict[str, Any], seed: int) -> Any:
    """Make the polished cut: its brightness, with grain.

    Nothing stands before the face, so that it receives all of the light, of which there is one: what a matt surface
    would send back is known, and it is rendered as a lamp of that brightness, without noise and at a third of the
    time. It lights nothing else.
    """
    material, end, brightness = _material("face")
    tree = material.node_tree
    grain = _noise(tree, settings["grain_vox"], seed, octaves=2.0)
    strength = 4 * AS_FOUR_DIMENSIONS * settings["grain"]
    relief = _math_node(tree, "MULTIPLY_ADD", grain, strength, 1 - strength / 2)
    level = _math_node(tree, "MULTIPLY", brightness, relief.outputs[0])
    shine = tree.nodes.new("ShaderNodeEmission")
    tree.links.new(level.outputs[0], shine.inputs["Color"])
    tree.links.new(shine.outputs[0], end)
    material.cycles.emission_sampling = "NONE"
    return material


def wall_material(settings: dict[str, Any], seed: int, depth_vox: int) -> Any:
    """Make the rough pore wall: brighter edge-on to the beam, darker with depth."""
    material, end, brightness = _material("wall")
    tree = material.node_tree
    level = _math_node(tree, "MULTIPLY", brightness, settings["wall_brightness"])
    level = _math_node(tree, "MULTIPLY", level.outputs[0], _edge_on(tree, settings["rim"]))
    level = _math_node(tree, "MULTIPLY", level.outputs[0], _fading(tree, settings["escape_depth_vox"], depth_vox))
    level = _math_node(tree, "MINIMUM", level.outputs[0], WHITEST)
    smooth = _matt(tree, level)
    if settings["roughness"] > 0:
        bump = tree.nodes.new("ShaderNodeBump")
        bump.inputs["Strength"].default_value = min(settings["roughness"], 1.0)
        bump.inputs["Distance"].default_value = 2.0 * AS_FOUR_DIMENSIONS
        tree.links.new(_noise(tree, 3.0, seed + 1, octaves=3.0), bump.inputs["Height"])
        rough = _matt(tree, level)
        tree.links.new(bump.outputs[0], rough.inputs["Normal"])
        # Walls that only light others need no bumps, the most costly part of the surface.
        path, choice = tree.nodes.new("ShaderNodeLightPath"), tree.nodes.new("ShaderNodeMixShader")
        tree.links.new(path.outputs["Is Camera Ray"], choice.inputs["Fac"])
        tree.links.new(smooth.outputs[0], choice.inputs[1])
        tree.links.new(rough.outputs[0], choice.inputs[2])
        smooth = choice
    tree.links.new(smooth.outputs[0], end)
    return material


def _matt(tree: Any, colour: Any) -> Any:
    """Add a matt surface of the colour that a node gives."""
    matt = tree.nodes.new("ShaderNodeBsdfDiffuse")
    tree.links.new(colour.outputs[0], matt.inputs["Color"])
    return matt


def set_dome(scene: Any, strength: float) -> None:
    """Light from the half-space before the face only: a ray that leaves through the block's back sees black."""
    import bpy

    world = bpy.data.worlds.new("dome")
    scene.world = world
    world.use_nodes = True
    # A matt wall sends its rays evenly into an even sky: they find it with less noise than a search for it.
    world.cycles.sampling_method = "NONE"
    nodes, links = world.node_tree.nodes, world.node_tree.links
    direction = nodes.new("ShaderNodeTexCoord")
    parts = nodes.new("ShaderNodeSeparateXYZ")
    above = _math_node(world.node_tree, "GREATER_THAN", None, 0.0)
    scaled = _math_node(world.node_tree, "MULTIPLY", above.outputs[0], strength)
    links.new(direction.outputs["Generated"], parts.inputs[0])
    links.new(parts.outputs["Z"], above.inputs[0])
    links.new(scaled.outputs[0], nodes["Background"].inputs["Strength"])
    nodes["Background"].inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)


def _material(name: str) -> tuple[Any, Any, Any]:
    """Return an empty material, the socket of its surface and that of the points' brightness."""
    import bpy

    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    end = tree.nodes.new("ShaderNodeOutputMaterial")
    given = tree.nodes.new("ShaderNodeAttribute")
    given.attribute_name = "brightness"
    return material, end.inputs["Surface"], given.outputs["Fac"]


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
    # The seed moves the material to another place of the one endless texture; a fourth dimension would cost twice.
    shift = tree.nodes.new("ShaderNodeVectorMath")
    shift.operation = "ADD"
    shift.inputs[1].default_value = np.random.default_rng(seed).uniform(100.0, 1000.0, 3) * size
    noise = tree.nodes.new("ShaderNodeTexNoise")
    noise.noise_dimensions = "3D"
    tree.links.new(place.outputs["Position"], shift.inputs[0])
    tree.links.new(shift.outputs[0], noise.inputs["Vector"])
    noise.inputs["Scale"].default_value = 1.0 / size
    noise.inputs["Detail"].default_value = octaves
    return noise.outputs["Fac"]


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


def _fading(tree: Any, escape_depth: float, depth_vox: int) -> Any:
    """Return the socket of exp(-depth / escape_depth), 0 from the centre of the last layer that is wanted."""
    place = tree.nodes.new("ShaderNodeNewGeometry")
    parts = tree.nodes.new("ShaderNodeSeparateXYZ")
    tree.links.new(place.outputs["Position"], parts.inputs[0])
    above = _math_node(tree, "SUBTRACT", parts.outputs["Z"], 0.0)
    above.name = CUT
    power = _math_node(tree, "DIVIDE", above.outputs[0], escape_depth)
    faded = _math_node(tree, "EXPONENT", power.outputs[0])
    near = _math_node(tree, "GREATER_THAN", above.outputs[0], 0.5 - depth_vox)
    return _math_node(tree, "MULTIPLY", faded.outputs[0], near.outputs[0]).outputs[0]
