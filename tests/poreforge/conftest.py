import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from poreforge.cli import main
from segment import Segmenter
from segment.networks import UNet


@pytest.fixture
def blobs():
    """Labels of smooth blobs, (12, 14, 16)."""

    def build(n_phases=2, seed=0):
        field = np.random.default_rng(seed).standard_normal((12, 14, 16))
        for axis in range(3):
            field = field + np.roll(field, 1, axis) + np.roll(field, 2, axis)
        levels = np.quantile(field, np.arange(1, n_phases) / n_phases)
        return np.digitize(field, levels).astype(np.uint8)

    return build


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """Save an untrained segmenter of two stages; its labels mean nothing."""
    torch.manual_seed(0)
    slices = UNet(width=4, depth=1)
    torch.nn.init.normal_(slices.exit.weight, std=2)
    with torch.no_grad():
        # Without this one phase might win everywhere.
        slices.exit.bias -= slices.eval()(torch.rand(2, 1, 32, 32)).mean((0, 2, 3))
    refine = UNet(dims=3, in_channels=3, width=4, depth=1, refines=True)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    Segmenter(slices, refine.eval(), ("pore", "solid"), (0.01, -0.02, 0.03)).save(folder)
    return folder


@pytest.fixture
def refused(capsys):
    """Run the command and return the one line with which it refuses."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert stop.value.code == 2
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert printed.err.startswith(f"poreforge {arguments[0]}: error: ")
        return printed.err

    return run


@pytest.fixture
def strict_json():
    """Read JSON as a strict reader does, to whom NaN is an error."""

    def fail(literal):
        raise AssertionError(f"{literal} is not JSON")

    return lambda path: json.loads(path.read_text(encoding="utf-8"), parse_constant=fail)


class _Page(HTMLParser):
    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def self_contained_page():
    """Read a report; fail if it needs anything from outside or an image says nothing to those who cannot see it."""

    def read(path):
        text = path.read_text(encoding="utf-8")
        page = _Page()
        page.feed(text)
        page.close()
        assert page.open == []
        assert not re.search(r"https?://|@import|url\((?!data:)", text)
        for tag, attributes in page.tags:
            assert tag not in ("iframe", "object", "embed")
            assert tag != "script" or "src" not in attributes
            for name in ("src", "href", "srcset", "poster"):
                assert attributes.get(name, "#").startswith(("#", "data:"))
            if tag == "img":
                assert attributes["alt"].strip()
                assert attributes["src"].startswith(
                    ("data:image/png;base64,iVBORw0KGgo", "data:image/gif;base64,R0lGOD")
                )
        return page

    return read
