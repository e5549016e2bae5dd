"""Ground floor: what a volume is, how it is read and written, and the corpus on disk."""

from volume.corpus import Corpus, Sample
from volume.errors import MissingVolumeError, VolumeFileError
from volume.files import accepted_suffixes, open_lazily, read, write, write_slabs
from volume.formats.registry import choose_for_writing
from volume.labels import check_labels, from_one_hot, one_hot
from volume.model import Volume

__all__ = [
    "Corpus",
    "MissingVolumeError",
    "Sample",
    "Volume",
    "VolumeFileError",
    "accepted_suffixes",
    "check_labels",
    "choose_for_writing",
    "from_one_hot",
    "one_hot",
    "open_lazily",
    "read",
    "write",
    "write_slabs",
]
