"""Tomographs of the papers and a domain of random ones, each a set of laws."""

from synth.laws import Choice, LogUniform, Sometimes, Uniform
from synth.xray.settings import (
    BeamSettings,
    DetectorSettings,
    GreySettings,
    ReconstructionSettings,
    ScanSettings,
    XraySettings,
)

__all__ = ["XRAY_PRESETS"]

# Wide enough that a network cannot rely on one look; the phases stay in the order of their labels.
_RANDOM = XraySettings(
    attenuation=(
        0.0,
        Uniform(3.6e-3, 4.8e-3),
        Uniform(5.2e-3, 6.0e-3),
        Uniform(6.4e-3, 7.2e-3),
        Uniform(7.6e-3, 8.8e-3),
    ),
    scatter_share=(Uniform(0.1, 0.6),),
    mottle=Sometimes(0.5, Uniform(0.02, 0.15)),
    mottle_px=LogUniform(0.7, 5.0),
    beam=BeamSettings(
        scan_photons=LogUniform(1e6, 3e7),
        bandwidth=Sometimes(0.6, Uniform(0.05, 0.35)),
        source_blur_px=Uniform(0.0, 0.7),
        fresnel_px2=Sometimes(0.5, LogUniform(0.1, 1.0)),
        delta_beta=LogUniform(4.0, 20.0),
    ),
    scan=ScanSettings(
        angles_per_px=LogUniform(0.4, 1.6),
        range_deg=Choice((180.0, 360.0)),
        centre_offset_px=Sometimes(0.3, Uniform(-1.0, 1.0)),
        drift_px=Sometimes(0.3, Uniform(0.0, 1.5)),
        jitter_px=Sometimes(0.3, Uniform(0.0, 0.3)),
        angle_jitter_deg=Sometimes(0.2, Uniform(0.0, 0.1)),
    ),
    detector=DetectorSettings(
        blur_px=Uniform(0.3, 1.2),
        read_noise=Sometimes(0.5, LogUniform(1.0, 30.0)),
        flats=LogUniform(5.0, 100.0),
        ring=Sometimes(0.7, LogUniform(1e-4, 2e-3)),
        ring_width_px=Sometimes(0.5, Uniform(0.3, 2.5)),
        ring_drift=Sometimes(0.5, Uniform(0.0, 1.0)),
        ring_nonlinear=Sometimes(0.3, LogUniform(1e-3, 1e-2)),
        bad_pixels=Sometimes(0.2, LogUniform(1e-5, 3e-4)),
    ),
    reconstruction=ReconstructionSettings(
        window=Choice(("ramp", "shepp-logan", "cosine", "hamming", "hann")),
        cutoff=Uniform(0.6, 1.0),
        retrieval_delta_beta=Sometimes(0.5, LogUniform(2.0, 15.0)),
    ),
    grey=GreySettings(below=Uniform(0.25, 0.75), above=Uniform(0.3, 0.75)),
)

# Gas diffusion layers with a microporous layer: pore, fibre, MPL.
# The paper states 30 kV, 200 µA, 2000 projections over 360°, voxels of 5 µm, about 1000 pixels across.
# Everything else is a guess: attenuations are those of carbon of 1.8 g/cm³ and of a half-empty mixture of carbon and
# PTFE near 17 keV; the cone beam is taken for a parallel one.
_GDL = XraySettings(
    attenuation=(0.0, Uniform(6.0e-4, 8.0e-4), Uniform(4.2e-4, 5.4e-4)),
    scatter_share=(0.35,),
    mottle=Uniform(0.05, 0.12),
    mottle_px=Uniform(1.0, 2.5),
    beam=BeamSettings(
        scan_photons=LogUniform(2e7, 8e7), bandwidth=Uniform(0.15, 0.3), source_blur_px=Uniform(0.2, 0.5)
    ),
    scan=ScanSettings(
        # 2000 projections on a circle of about 1400 pixels, half of them for each half turn.
        angles_per_px=0.7,
        range_deg=360.0,
        centre_offset_px=Sometimes(0.3, Uniform(-0.4, 0.4)),
        drift_px=Sometimes(0.3, Uniform(0.0, 0.6)),
        jitter_px=0.05,
    ),
    detector=DetectorSettings(
        blur_px=Uniform(0.4, 0.7),
        read_noise=Uniform(5.0, 20.0),
        ring=LogUniform(2e-5, 1e-4),
        ring_width_px=Uniform(0.3, 1.0),
        ring_drift=Uniform(0.0, 1.0),
    ),
    reconstruction=ReconstructionSettings(window="shepp-logan"),
    grey=GreySettings(below=Uniform(0.3, 0.6), above=Uniform(0.2, 0.5)),
)

# Vanadium flow-battery cells: electrolyte, bubble, membrane, gasket, fibre. The bubbles, label 1, are darkest.
# The paper states 30 keV, monochromatic, 40 cm from sample to detector, 2000 projections over 180°, a field of view of
# 26.6 mm, a resolution of 40 µm and rings filtered out of the sinograms.
# From these: pixels of 13 µm (2048 across), a wavelength of 41.3 pm, so λR of 0.10 squared pixels; a blur of 1.3
# pixels (40 µm taken for the full width at half maximum). Guesses: the attenuations (sulphuric acid with
# vanadium, hydrogen, an ionomer, silicone, carbon), that phases were retrieved, and with which δ/β; what is left of
# the rings is weak and wide.
_REDOX = XraySettings(
    attenuation=(
        Uniform(7.2e-4, 8.0e-4),
        0.0,
        Uniform(7.6e-4, 8.6e-4),
        Uniform(10.5e-4, 12.5e-4),
        Uniform(5.8e-4, 6.3e-4),
    ),
    # Electron densities, that of the electrolyte put at its attenuation: a membrane and fibres are denser than acid.
    refraction=(7.6e-4, 0.0, 11.5e-4, 8.5e-4, 11.0e-4),
    beam=BeamSettings(
        scan_photons=LogUniform(2e7, 1.5e8), source_blur_px=0.3, fresnel_px2=0.1, delta_beta=Uniform(1000.0, 2000.0)
    ),
    scan=ScanSettings(
        angles_per_px=0.98,
        centre_offset_px=Sometimes(0.3, Uniform(-0.5, 0.5)),
        drift_px=Sometimes(0.4, Uniform(0.0, 1.0)),
        jitter_px=0.1,
    ),
    detector=DetectorSettings(
        blur_px=1.25, ring=LogUniform(2e-5, 1.5e-4), ring_width_px=Uniform(1.0, 3.0), ring_drift=Uniform(0.0, 0.5)
    ),
    reconstruction=ReconstructionSettings(window="shepp-logan", retrieval_delta_beta=Uniform(500.0, 1000.0)),
    grey=GreySettings(below=Uniform(0.45, 0.7), above=Uniform(0.25, 0.5)),
)

# Felts and preforms of carbon fibres, pixels near 1.3 µm, at a synchrotron. No paper: every number is a guess, set so
# that fringes look like those of public pictures, dark rims around bright fibres that are brightest at their surface.
_FELT = XraySettings(
    attenuation=(0.0, Uniform(0.8e-4, 1.2e-4), Uniform(0.5e-4, 0.7e-4)),
    mottle=Uniform(0.08, 0.18),
    mottle_px=Uniform(2.0, 4.0),
    beam=BeamSettings(
        scan_photons=LogUniform(1e8, 8e8),
        source_blur_px=Uniform(0.3, 0.6),
        fresnel_px2=Uniform(0.45, 0.75),
        delta_beta=Uniform(350.0, 550.0),
    ),
    scan=ScanSettings(angles_per_px=Uniform(0.35, 0.8), jitter_px=0.05),
    detector=DetectorSettings(
        blur_px=Uniform(0.6, 0.9), ring=LogUniform(2e-5, 1e-4), ring_width_px=Uniform(0.5, 2.0), ring_drift=0.5
    ),
    reconstruction=ReconstructionSettings(window="hann", retrieval_delta_beta=Uniform(75.0, 115.0)),
    grey=GreySettings(below=Uniform(0.65, 0.9), above=Uniform(2.4, 3.0), bits=8),
)

XRAY_PRESETS: dict[str, XraySettings] = {
    "default": XraySettings(),
    "random": _RANDOM,
    "procon-ct-mini-gdl": _GDL,
    "bmit-redox-cell": _REDOX,
    "synchrotron-felt": _FELT,
}
