"""Instruments that recipes can name: the default one, Blender's look, any, and those of the papers."""

from collections.abc import Mapping
from types import MappingProxyType

from synth.laws import Choice, LogUniform, Sometimes, Uniform
from synth.sem.charging import Charging
from synth.sem.detector import Electronics
from synth.sem.geometry import SliceGeometry
from synth.sem.milling import Curtains, Redeposition
from synth.sem.optics import Optics
from synth.sem.settings import FibsemSettings, backscatter_grey

__all__ = ["FIBSEM_PRESETS"]

# What `blender_stack` shows with its default settings, without noise. Fitted by benchmarks/blender_calibration.py; on a
# catalyst layer that the fit never saw the residual is 0.026 on the face and 0.084 in pores (rms, of full scale), the
# correlation in pores 0.934 and the distance of the histograms 0.014.
BLENDER = FibsemSettings(
    face_grey=(0.7, 0.85, 0.5),
    floor_grey=0.0,
    shine_through=0.945,
    depth_vox=19.2,
    relief=0.0,
    rim=0.344,
    shadow=0.96,
    fill_light=0.129,
    sun=0.652,
    edge=0.27,
    texture=0.03,
    wall_texture=0.05,
    blur_vox=0.51,
    shading=0.0,
    slice_gain=0.0,
    dose=1e6,
    read_noise=0.0,
)

# Wide enough that a network cannot rely on one look, every artefact now and then. Yet walls that look like the face are
# rare: in one draw of 200 less than 0.7 of pairs of a solid and a pore pixel are ordered by their blurred grey.
RANDOM = FibsemSettings(
    tilt_deg=Uniform(34.0, 56.0),
    detector=Sometimes(0.2, "BSE", "SE"),
    face_grey=(Uniform(0.5, 0.85), Uniform(0.4, 1.0), Uniform(0.3, 0.77)),
    floor_grey=Uniform(0.04, 0.3),
    filled_grey=Sometimes(0.1, Uniform(0.05, 0.3), None),
    shine_through=Uniform(0.3, 0.85),
    depth_vox=Uniform(5.0, 25.0),
    relief=Uniform(0.0, 0.6),
    rim=Sometimes(0.5, Uniform(0.0, 0.35)),
    shadow=Sometimes(0.75, Uniform(0.3, 1.0)),
    fill_light=Uniform(0.1, 0.5),
    sun=Uniform(0.0, 0.8),
    sun_elevation_deg=Uniform(30.0, 70.0),
    sun_azimuth_deg=Uniform(0.0, 360.0),
    edge=Uniform(0.0, 0.3),
    edge_side=Sometimes(0.5, Uniform(0.0, 1.0)),
    texture=Uniform(0.0, 0.06),
    wall_texture=Uniform(0.0, 0.15),
    mottle=Sometimes(2 / 3, Uniform(0.0, 0.2)),
    mottle_vox=Uniform(8.0, 40.0),
    blur_vox=Uniform(0.3, 1.3),
    shading=Uniform(0.0, 0.4),
    slice_gain=Uniform(0.0, 0.05),
    dose=LogUniform(12.0, 600.0),
    read_noise=Uniform(0.0, 0.05),
    geometry=SliceGeometry(
        uneven=Sometimes(0.3, Uniform(0.0, 0.25)),
        bend_vox=Sometimes(0.2, Uniform(0.0, 1.5)),
        drift_px=Sometimes(0.3, Uniform(0.0, 0.4)),
        jitter_px=Sometimes(0.3, Uniform(0.0, 0.4)),
    ),
    redeposition=Redeposition(pores=Sometimes(0.25, Uniform(0.1, 0.6)), face=Sometimes(0.1, Uniform(0.0, 0.2))),
    curtains=Curtains(
        strength=Sometimes(0.5, Uniform(0.02, 0.2)),
        width_px=Uniform(2.0, 8.0),
        fade_px=Uniform(20.0, 200.0),
        full_height=Uniform(0.0, 0.5),
        angle_deg=Uniform(-3.0, 3.0),
    ),
    charging=Charging(
        glow=Sometimes(0.2, Uniform(-0.15, 0.2)),
        halo=Sometimes(0.2, Uniform(-0.15, 0.1)),
        streak=Sometimes(0.2, Uniform(-0.1, 0.15)),
        drift=Sometimes(0.2, Uniform(0.0, 0.05)),
        jumps=Sometimes(0.1, Uniform(0.0, 1.0)),
    ),
    optics=Optics(
        defocus_px=Sometimes(0.3, Uniform(-1.0, 1.0)),
        drift_px=Sometimes(0.3, Uniform(0.0, 0.5)),
        field_px=Sometimes(0.2, Uniform(-1.0, 1.0)),
        astigmatism=Uniform(1.0, 1.5),
        astigmatism_deg=Uniform(0.0, 180.0),
    ),
    electronics=Electronics(
        gain_drift=Sometimes(0.4, Uniform(0.0, 0.08)),
        contrast_drift=Sometimes(0.3, Uniform(0.0, 0.1)),
        jumps=Sometimes(0.1, Uniform(0.0, 0.05)),
        line_noise=Sometimes(0.3, Uniform(0.0, 0.02)),
        line_drift=Sometimes(0.2, Uniform(0.0, 0.015)),
        bits=Choice((None, 8, 16)),
    ),
)

# Secondary particles of NCM811 (paper: pore_segnet). Stated: Helios 5 HX, back-scattered electrons at 2 kV and 50 pA,
# slices of 15 nm, milling at 30 kV and 2.4 nA, vertical stripes by curtaining, poor signal-to-noise ratio, 16 bits,
# open pores, little charging at their edges. Guessed: 38° between the face's normal and the view (the columns are 52°
# apart), crystal contrast of the primary particles, every number. The pixel is not stated beyond "2.3 µm²" for 256²
# pixels: for slices thicker than a pixel set geometry.slice_vox.
HELIOS_BSE = FibsemSettings(
    tilt_deg=38.0,
    detector="BSE",
    # The second phase of `secondary_particle` is what lies outside.
    face_grey=(Uniform(0.5, 0.7), Uniform(0.08, 0.16)),
    floor_grey=Uniform(0.08, 0.16),
    shine_through=Uniform(0.5, 1.0),
    depth_vox=Uniform(4.0, 10.0),
    texture=Uniform(0.0, 0.02),
    wall_texture=0.1,
    mottle=Uniform(0.03, 0.12),
    mottle_vox=Uniform(15.0, 40.0),
    blur_vox=Uniform(0.6, 1.2),
    shading=Uniform(0.05, 0.25),
    slice_gain=Uniform(0.0, 0.02),
    dose=LogUniform(20.0, 80.0),
    read_noise=Uniform(0.01, 0.04),
    geometry=SliceGeometry(uneven=Uniform(0.0, 0.15), jitter_px=Uniform(0.0, 0.3)),
    curtains=Curtains(
        strength=Uniform(0.04, 0.12), width_px=Uniform(3.0, 8.0), fade_px=Uniform(50.0, 150.0), full_height=0.4
    ),
    optics=Optics(drift_px=Uniform(0.0, 0.4), astigmatism=Uniform(1.0, 1.2), astigmatism_deg=Uniform(0.0, 180.0)),
    electronics=Electronics(gain_drift=0.02, line_noise=Uniform(0.0, 0.008), bits=16),
)

# Iridium oxide on an ionomer (paper: reproducible_3d_segmentation, imaged by its reference Ferner 2024). Stated: plasma
# FIB, 52° between the face's normal and the camera, structure behind the cut in view, streaks. Guessed: that secondary
# electrons were counted, heavier milling damage than gallium's (curtains, bent slices), every number.
PFIB_CATALYST_LAYER = FibsemSettings(
    tilt_deg=52.0,
    face_grey=(Uniform(0.6, 0.75), Uniform(0.4, 0.55)),
    floor_grey=Uniform(0.03, 0.1),
    shine_through=Uniform(0.8, 1.05),
    depth_vox=Uniform(12.0, 25.0),
    relief=Uniform(0.0, 0.2),
    rim=Uniform(0.15, 0.4),
    shadow=Uniform(0.75, 1.0),
    fill_light=Uniform(0.2, 0.4),
    sun=Uniform(0.3, 0.6),
    sun_azimuth_deg=Uniform(60.0, 120.0),
    edge=Uniform(0.05, 0.2),
    texture=Uniform(0.01, 0.04),
    wall_texture=Uniform(0.05, 0.12),
    blur_vox=Uniform(0.5, 1.0),
    shading=Uniform(0.1, 0.3),
    slice_gain=Uniform(0.0, 0.03),
    dose=LogUniform(60.0, 250.0),
    read_noise=Uniform(0.005, 0.03),
    geometry=SliceGeometry(
        uneven=Uniform(0.0, 0.2), bend_vox=Uniform(0.0, 1.0), drift_px=Uniform(0.0, 0.2), jitter_px=Uniform(0.0, 0.3)
    ),
    redeposition=Redeposition(pores=Uniform(0.0, 0.35), face=Uniform(0.0, 0.1)),
    curtains=Curtains(
        strength=Uniform(0.06, 0.18), width_px=Uniform(3.0, 9.0), fade_px=Uniform(60.0, 200.0), full_height=0.4
    ),
    charging=Charging(glow=Uniform(0.0, 0.06), streak=Uniform(0.0, 0.05), drift=Uniform(0.0, 0.03)),
    optics=Optics(drift_px=Uniform(0.0, 0.3), field_px=Uniform(-0.5, 0.5)),
    electronics=Electronics(gain_drift=0.03, contrast_drift=0.03, line_noise=Uniform(0.0, 0.01), bits=8),
)

# Catalyst layers on carbon (paper: utile_pore). Stated: Zeiss Crossbeam 350, gallium at 30 kV and 700 pA, stage at 54°
# with 36° corrected in the image (so the view is 36° off the face's normal), Everhart-Thornley and energy-selective
# detectors, 10 nm pixels and slices interpolated to 10 nm, drift compensation, automatic contrast and stigmation.
# Guessed: that the secondary electrons' picture was segmented, every number.
FIBSEM_CATALYST_LAYER = FibsemSettings(
    tilt_deg=36.0,
    face_grey=(Uniform(0.5, 0.65), Uniform(0.45, 0.6)),
    floor_grey=Uniform(0.04, 0.12),
    shine_through=Uniform(0.75, 1.05),
    depth_vox=Uniform(8.0, 18.0),
    relief=Uniform(0.0, 0.3),
    rim=Uniform(0.1, 0.35),
    shadow=Uniform(0.6, 0.95),
    fill_light=Uniform(0.2, 0.4),
    sun=Uniform(0.2, 0.5),
    sun_azimuth_deg=Uniform(60.0, 120.0),
    edge=Uniform(0.08, 0.25),
    texture=Uniform(0.01, 0.04),
    wall_texture=Uniform(0.05, 0.12),
    mottle=Uniform(0.0, 0.1),
    mottle_vox=Uniform(8.0, 20.0),
    blur_vox=Uniform(0.5, 1.0),
    shading=Uniform(0.1, 0.3),
    slice_gain=Uniform(0.0, 0.02),
    dose=LogUniform(60.0, 200.0),
    read_noise=Uniform(0.01, 0.03),
    geometry=SliceGeometry(uneven=Uniform(0.0, 0.1), jitter_px=Uniform(0.0, 0.4)),
    redeposition=Redeposition(pores=Uniform(0.0, 0.3)),
    curtains=Curtains(strength=Uniform(0.02, 0.1), width_px=Uniform(2.0, 5.0), fade_px=Uniform(40.0, 120.0)),
    charging=Charging(glow=Uniform(0.0, 0.08), halo=Uniform(-0.06, 0.0), streak=Uniform(0.0, 0.04)),
    optics=Optics(drift_px=Uniform(0.0, 0.3), astigmatism=Uniform(1.0, 1.2), astigmatism_deg=Uniform(0.0, 180.0)),
    electronics=Electronics(contrast_drift=Uniform(0.0, 0.06), gain_drift=0.02, line_noise=0.004, bits=8),
)

# Oxygen electrode of GDC and LSCF (paper: ddpm_3d). Stated: FIB-SEM, three phases. Guessed: everything else, after
# common practice: pores filled with epoxy resin, back-scattered or energy-selected electrons, mean atomic numbers by
# weight of Ce0.8Gd0.2O1.9 and La0.6Sr0.4Co0.2Fe0.8O3.
FIBSEM_SOFC = FibsemSettings(
    tilt_deg=38.0,
    detector="BSE",
    face_grey=backscatter_grey((50.3, 35.6), brightest=0.78),
    filled_grey=Uniform(0.1, 0.2),
    texture=Uniform(0.0, 0.015),
    mottle=Uniform(0.0, 0.03),
    mottle_vox=Uniform(15.0, 40.0),
    blur_vox=Uniform(0.6, 1.2),
    shading=Uniform(0.05, 0.2),
    slice_gain=Uniform(0.0, 0.02),
    dose=LogUniform(80.0, 300.0),
    read_noise=Uniform(0.005, 0.02),
    geometry=SliceGeometry(uneven=Uniform(0.0, 0.15), jitter_px=Uniform(0.0, 0.3)),
    curtains=Curtains(
        strength=Uniform(0.02, 0.07), width_px=Uniform(2.0, 6.0), fade_px=Uniform(60.0, 200.0), in_pores=1.0
    ),
    charging=Charging(glow=Uniform(0.0, 0.06), phases=(0,), drift=Uniform(0.0, 0.03)),
    optics=Optics(drift_px=Uniform(0.0, 0.3)),
    electronics=Electronics(gain_drift=0.02, contrast_drift=0.02, line_noise=Uniform(0.0, 0.006), bits=8),
)

FIBSEM_PRESETS: Mapping[str, FibsemSettings] = MappingProxyType(
    {
        "default": FibsemSettings(),
        "blender": BLENDER,
        "random": RANDOM,
        "helios-5-hx-bse": HELIOS_BSE,
        "pfib-catalyst-layer": PFIB_CATALYST_LAYER,
        "fibsem-catalyst-layer": FIBSEM_CATALYST_LAYER,
        "fibsem-sofc": FIBSEM_SOFC,
    }
)
