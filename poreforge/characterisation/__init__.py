"""The topics of `poreforge characterise`: what each measures, and its section of the report."""

from collections.abc import Callable
from typing import NamedTuple

from poreforge.characterisation.bubbles import bubbles, has_bubbles
from poreforge.characterisation.certainty import certainty
from poreforge.characterisation.connectivity import connectivity
from poreforge.characterisation.correlation import correlation
from poreforge.characterisation.findings import Findings
from poreforge.characterisation.layers import has_layers, layers
from poreforge.characterisation.morphology import morphology
from poreforge.characterisation.overview import overview, profiles, views
from poreforge.characterisation.sizes import sizes
from poreforge.characterisation.transport import transport
from volume import Volume

__all__ = ["TOPICS", "Findings", "Topic"]


class Topic(NamedTuple):
    """A part of the report.

    Attributes
    ----------
    title : str
        Of its section.
    find : callable
        From the labelled volume, all phases named, to what it tells.
    applies : callable
        Whether the volume is of the kind that it is for.
    """

    title: str
    find: Callable[[Volume], Findings]
    applies: Callable[[Volume], bool] = lambda volume: True


TOPICS: dict[str, Topic] = {
    "overview": Topic("Overview", overview),
    "views": Topic("In three dimensions", views),
    "morphology": Topic("Morphology", morphology),
    "profiles": Topic("Porosity profile", profiles),
    "sizes": Topic("Sizes", sizes),
    "correlation": Topic("Correlation", correlation),
    "connectivity": Topic("Connectivity", connectivity),
    "transport": Topic("Transport", transport),
    "certainty": Topic("How certain this is", certainty),
    "layers": Topic("Layers", layers, has_layers),
    "bubbles": Topic("Bubbles", bubbles, has_bubbles),
}
