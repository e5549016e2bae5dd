"""What each command shares: bad input becomes one line and exit status 2."""

import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["exit_on_bad_input"]

BAD_INPUT = 2
INTERRUPTED = 130


@contextlib.contextmanager
def exit_on_bad_input(program: str) -> Iterator[None]:
    """Turn ``ValueError``, ``OSError`` and ``MemoryError`` into one line on stderr and exit status 2.

    Parameters
    ----------
    program : str
        Name before the message, e.g. ``"poreforge segment"``.

    Notes
    -----
    With ``POREFORGE_TRACEBACK=1`` in the environment the traceback is shown, for whoever mends the program.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get("POREFORGE_TRACEBACK"):
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, MemoryError):
            message = f"not enough memory ({message}); give a smaller volume or use a larger machine"
        print(f"{program}: error: {message}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
