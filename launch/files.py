"""Files and folders that are either complete or absent."""

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

__all__ = ["in_words", "make_output_folder", "replace_when_complete"]


@contextlib.contextmanager
def replace_when_complete(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` once the block ends without an error.

    Parameters
    ----------
    path : path-like
        File or folder to make. An older one of that name is replaced only at the very end; an older folder is
        moved aside first, so that it is never seen half deleted.

    Yields
    ------
    Path
        Where to write. It has the suffix of `path`, so that libraries which look at it choose rightly.
    """
    path = Path(path)
    make_output_folder(path.parent)
    mark = uuid.uuid4().hex[:8]
    temporary, older = path.with_name(f".{mark}-{path.name}"), path.with_name(f".{mark}-older-{path.name}")
    try:
        yield temporary
        if path.is_dir() and not path.is_symlink():
            # A rename replaces a file, but no folder that holds anything.
            path.replace(older)
        temporary.replace(path)
    finally:
        _remove(temporary)
        if older.exists() and not path.exists():
            older.replace(path)
        _remove(older)


def make_output_folder(folder: str | Path) -> Path:
    """Make `folder` (and its parents) and prove that a file can be written there.

    Raises
    ------
    ValueError
        If it cannot be made or written to.
    """
    folder = Path(folder)
    probe = folder / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"cannot write to the output folder '{folder}' ({reason}); choose another") from error
    return folder


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def in_words(n_bytes: float) -> str:
    """Return a number of bytes as ``1.3 GB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
