import sys

import pytest


@pytest.fixture(autouse=True)
def one_thread():
    """Keep torch on one thread: small networks are quickest so, and give the same bits on every machine."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
