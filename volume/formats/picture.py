"""One PNG, JPEG or BMP image: a volume of one slice, for reading alone.

Palette images give their indices, as ImageJ does: that is how labels with a colour table are stored.
"""

from pathlib import Path

import numpy as np

from volume.errors import VolumeFileError
from volume.model import Volume

__all__ = ["DTYPES", "IS_FOLDER", "NAME", "SUFFIXES", "read", "write"]

NAME = "picture"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
DTYPES: tuple[str, ...] = ()
IS_FOLDER = False


def read(path: Path) -> Volume:
    """Read one grey image of shape (1, Y, X); 16-bit images keep their 16 bits."""
    from PIL import Image

    with Image.open(path) as image:
        if image.mode not in ("1", "L", "P", "F") and not image.mode.startswith("I"):
            raise VolumeFileError(f"'{path}' is a colour ({image.mode}) image; convert it to grey first")
        array = np.asarray(image)
        # Older versions of Pillow widen 16-bit PNG to 32 bits.
        widened = image.mode == "I" and image.format == "PNG"
    return Volume(array.astype(np.uint16)[np.newaxis] if widened else array[np.newaxis])


def write(path: Path, volume: Volume) -> None:
    """Refuse: a picture has room for neither depth nor voxel size."""
    raise VolumeFileError(f"'{path}': pictures are for reading alone; write a .tif or a folder of slices")
