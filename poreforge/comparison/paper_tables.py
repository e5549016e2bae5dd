"""Tables 1 and 2 of the paper, as printed, with the relative errors that follow from them."""

import dataclasses

__all__ = ["PAPER_TABLES", "PaperTable"]

Numbers = tuple[tuple[float, ...], ...]


@dataclasses.dataclass(frozen=True)
class PaperTable:
    """One printed table.

    Parameters
    ----------
    phases : tuple of str
        In the order of the labels.
    real : tuple
        For each phase volume fraction, specific surface and Euler density, as printed (see
        `evaluate.likeness.paper_factor`).
    methods : dict
        The same for each method.
    """

    phases: tuple[str, ...]
    real: Numbers
    methods: dict[str, Numbers]

    def relative_error(self, method: str, phase: int, column: int) -> float:
        """Return the printed value minus the printed real one, over the latter's absolute value."""
        real = self.real[phase][column]
        return (self.methods[method][phase][column] - real) / abs(real)


PAPER_TABLES = {
    "two-phase": PaperTable(
        ("pore", "LSCF"),
        ((0.497, 0.014, -3.48e-5), (0.456, 0.014, -3.77e-5)),
        {
            "GAN": ((0.503, 0.015, -4.23e-5), (0.451, 0.015, -4.24e-5)),
            "SliceGAN": ((0.476, 0.015, -4e-5), (0.477, 0.015, -4.18e-5)),
            "3D DDPM": ((0.53, 0.013, -2e-5), (0.423, 0.013, -2.01e-5)),
        },
    ),
    "three-phase": PaperTable(
        ("pore", "GDC", "LSCF"),
        ((0.437, 0.015, -4.21e-5), (0.259, 0.01, -1.1e-6), (0.258, 0.011, 8.91e-7)),
        {
            "GAN": ((0.434, 0.015, -3.52e-5), (0.262, 0.01, 1.16e-5), (0.258, 0.011, 3.57e-5)),
            "SliceGAN": ((0.445, 0.014, -3.89e-5), (0.252, 0.01, -2.55e-6), (0.257, 0.011, 3.7e-6)),
            "3D DDPM": ((0.458, 0.013, -8.86e-6), (0.17, 0.006, 3.92e-5), (0.324, 0.01, 8.92e-6)),
        },
    ),
}
