"""What can go wrong with a volume's file; all of it is bad input, so all of it is ``ValueError``."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MissingVolumeError", "VolumeFileError", "in_one_sentence"]

REASON_LENGTH = 200


class VolumeFileError(ValueError):
    """A file that cannot be read or written as a volume; the message names the file and what to do."""


class MissingVolumeError(VolumeFileError, FileNotFoundError):
    """A file or folder that does not exist."""


@contextlib.contextmanager
def in_one_sentence(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into one sentence that names the file and its kind."""
    try:
        yield
    except (VolumeFileError, MemoryError):
        raise
    except PermissionError as error:
        raise VolumeFileError(f"'{path}' cannot be read ({error.strerror or error}); check its permissions") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) <= REASON_LENGTH else reason[:REASON_LENGTH] + "…"
        raise VolumeFileError(
            f"'{path}' cannot be read as {kind}; it is damaged, truncated or of another kind ({reason})"
        ) from error
