import sys
from contextlib import contextmanager

import pytest


@contextmanager
def pinned_threads():
    """Keep torch on one thread: small networks are quickest so, and give the same bits on every machine."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def one_thread_for_fixtures_of_a_module():
    with pinned_threads():
        yield


@pytest.fixture(autouse=True)
def one_thread():
    # Again for each test, because numba sets torch's threads back.
    with pinned_threads():
        yield
