"""Work for the tests of processes; it imports little, so that a process that died is soon replaced."""

import os
import signal

__all__ = ["double_or_die", "variables"]


def double_or_die(folder, deadly, index):
    """Return the double; index 2 ends its process, the first time or, if `deadly`, always."""
    if index == 2 and (deadly or not (folder / "died").exists()):
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * index


def variables():
    """Return the environment."""
    return dict(os.environ)
