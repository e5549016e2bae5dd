"""How much memory there is, to refuse what needs more before hours are spent on it."""

import contextlib
from pathlib import Path

__all__ = ["available_bytes"]

MEMINFO = Path("/proc/meminfo")
# Of a container: what it may use and what it does.
LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_bytes() -> int | None:
    """Return how much memory can still be had without swapping, as far as the system tells; None where it does not."""
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    for limit, usage in LIMITS:
        # A group without a limit says "max".
        with contextlib.suppress(OSError, ValueError):
            found.append(max(0, int(Path(limit).read_text()) - int(Path(usage).read_text())))
    return min(found, default=None)
