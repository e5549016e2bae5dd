"""From sections to one HTML file that needs no network."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch import replace_when_complete

__all__ = ["Figure", "Picture", "Section", "Table", "View", "number", "write_report"]


@dataclass(frozen=True)
class Picture:
    """One picture.

    Parameters
    ----------
    png : bytes
        The file's content: PNG, or GIF if it moves.
    alt : str
        What it shows, for readers who do not see it.
    title : str
        A few words above it.
    pixels : bool
        Show its pixels as squares where it is enlarged.
    """

    png: bytes
    alt: str
    title: str = ""
    pixels: bool = False

    @property
    def source(self) -> str:
        """Data address of the picture."""
        kind = "gif" if self.png[:4] == b"GIF8" else "png"
        return f"data:image/{kind};base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Figure:
    """Pictures side by side.

    Parameters
    ----------
    pictures : sequence of Picture
        From left to right, then downwards.
    caption : str
        One or two sentences below them.
    columns : int
        Pictures a row, where the page is wide enough.
    """

    pictures: Sequence[Picture]
    caption: str
    columns: int = 1


@dataclass(frozen=True)
class Table:
    """A table.

    Parameters
    ----------
    caption : str
        What it holds.
    columns : sequence of str
        Heads, the first one that of the row names.
    rows : sequence of sequence of str
        Cells, ready for print.
    best : sequence of set of int
        For each row, the columns to set off.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: Sequence[frozenset[int]] = ()

    def is_best(self, row: int, column: int) -> bool:
        """Tell whether a cell is set off."""
        return row < len(self.best) and column in self.best[row]


@dataclass(frozen=True)
class View:
    """A 3-D view that the reader can turn; made by `poreforge.views.interactive_view`.

    Parameters
    ----------
    scene : str
        JSON of its meshes.
    picture : Picture
        What stands there on paper, and where the browser has no WebGL.
    caption : str
        One or two sentences below it.
    """

    scene: str
    picture: Picture
    caption: str

    @property
    def data(self) -> str:
        """The JSON with its angle brackets escaped, so that nothing in it can end the element that holds it."""
        return self.scene.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@dataclass(frozen=True)
class Section:
    """A part of the report: paragraphs, then 3-D views, figures and tables."""

    title: str
    paragraphs: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = field(default_factory=tuple)
    views: Sequence[View] = ()


def write_report(path: str | Path, title: str, sections: Sequence[Section], *, facts: dict[str, Any]) -> Path:
    """Write a report.

    Parameters
    ----------
    path : path-like
        The HTML file.
    title : str
        Its heading.
    sections : sequence of Section
        In order.
    facts : dict
        Line by line at the head of the page: date, seed, versions and the like.

    Returns
    -------
    Path
        The file written.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("poreforge", "report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    here = Path(__file__).parent
    viewer = any(section.views for section in sections)
    page = environment.get_template("report.html").render(
        title=title, sections=sections, facts=facts,
        style=(here / "report.css").read_text(encoding="utf-8"),
        viewer=(here / "viewer.js").read_text(encoding="utf-8") if viewer else "",
    )  # fmt: skip
    path = Path(path)
    with replace_when_complete(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def number(value: float, digits: int = 4) -> str:
    """Return `value` for print, with a true minus and powers of ten: ``−9.69 × 10⁻⁵``; a dash if it is NaN."""
    if math.isnan(value):
        return "–"
    text, _, power = f"{value:.{digits}g}".partition("e")
    if power:
        text += " × 10" + str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return text.replace("-", "−")
