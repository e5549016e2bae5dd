"""The volume at a glance: slices, a 3-D picture that can be turned, the porosity along each axis."""

import numpy as np

from evaluate import porosity, porosity_profile, volume_fractions
from poreforge.characterisation.findings import Findings, names_of, unit_of
from poreforge.report import Figure, Section
from poreforge.report.figures import curves, label_image, picture
from volume import Volume

__all__ = ["overview", "profiles", "views"]


def overview(volume: Volume) -> Findings:
    """Show the three middle planes and tell the volume fractions."""
    names, array = names_of(volume), volume.array
    z, y, x = (n // 2 for n in array.shape)
    pictures = [
        picture(label_image(array[z]), f"z = {z}"),
        picture(label_image(array[:, y]), f"y = {y}, z downwards"),
        picture(label_image(array[:, :, x]), f"x = {x}, z downwards"),
    ]
    key = ", ".join(f"label {label}: {name}" for label, name in enumerate(names))
    figure = Figure(pictures, f"The three middle planes; {key}. Label 0 is dark.", 3)
    shares = volume_fractions(array, n_phases=len(names))
    fractions = ", ".join(f"{name} {share:.2%}" for name, share in zip(names, shares, strict=True))
    return Findings({"porosity": float(shares[0])}, Section("Overview", [f"Volume fractions: {fractions}."], [figure]))


def views(volume: Volume) -> Findings:
    """Draw the volume in three dimensions: one view that the reader can turn, one picture that turns by itself."""
    from poreforge.report import Picture
    from poreforge.views import interactive_view, phase_scene, rotating_gif

    whole = phase_scene(volume, cut="none", with_unseen=True, most_triangles=400_000)
    turning = rotating_gif(phase_scene(volume, cut="corner", most_triangles=200_000))
    figure = Figure([Picture(turning, "The volume turning about z.")], "The same with one corner taken out.", 2)
    view = interactive_view(whole, "The whole volume; where it is large, voxels are merged for the view.")
    return Findings({}, Section("In three dimensions", [], [figure], views=[view]))


def profiles(volume: Volume) -> Findings:
    """Tell how porosity changes along each axis."""
    size = volume.voxel_size_um or (1.0, 1.0, 1.0)
    found = {axis: porosity_profile(volume.array, axis=k) for k, axis in enumerate("zyx")}
    figure = curves(
        {
            axis: ((np.arange(len(profile)) + 0.5) * step, profile)
            for (axis, profile), step in zip(found.items(), size, strict=True)
        },
        x_label="position / " + unit_of(volume),
        y_label="porosity of the slice",
        levels={"whole volume": porosity(volume.array)},
        caption="Porosity slice by slice along each axis.",
        alt="Porosity profiles along z, y and x.",
    )
    numbers = {"porosity_profile": {axis: profile.tolist() for axis, profile in found.items()}}
    return Findings(numbers, Section("Porosity profile", [], [figure]))
