import json

import numpy as np
import pytest

import evaluate
from generative.monitor import material_errors
from generative.patches import read_material
from generative.training import train


@pytest.fixture
def material(two_phases):
    return read_material(np.kron(two_phases, np.ones((2, 2, 2), np.uint8)))


def test_material_itself_has_no_error(material):
    errors = material_errors(material.labels[None], material)
    assert set(errors) == {
        f"error/{phase}/{name}" for phase in ("pore", "phase 1") for name in ("fraction", "surface", "euler", "s2")
    }
    assert max(abs(value) for value in errors.values()) < 1e-12


def test_errors_are_those_of_the_mean_over_the_volumes(material):
    inverse = 1 - material.labels
    errors = material_errors(np.stack([material.labels, inverse]), material)
    share = (material.labels == 0).mean()
    assert errors["error/pore/fraction"] == pytest.approx(0.5 / share - 1)
    euler = [evaluate.minkowski(labels == 0).euler_density for labels in (material.labels, inverse)]
    assert errors["error/pore/euler"] == pytest.approx((np.mean(euler) - euler[0]) / abs(euler[0]))
    s2 = [evaluate.two_point(labels == 0, r_max=12).s2 for labels in (material.labels, inverse)]
    worst = np.abs(np.mean(s2, axis=0) - s2[0]).max()
    assert errors["error/pore/s2"] == pytest.approx(worst / (share * (1 - share)))


def test_pictures_are_compared_by_their_fractions(two_phases):
    material = read_material(two_phases[:1])
    errors = material_errors(two_phases[None, :1], material)
    assert errors == {"error/pore/fraction": 0.0, "error/phase 1/fraction": 0.0}


def test_run_logs_the_errors_and_draws_the_volumes(tiny_config):
    config = tiny_config(monitor_every=3)
    train(config)
    lines = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    watched = {line["step"]: line for line in lines if "error/pore/fraction" in line}
    assert list(watched) == [3, 6]
    assert {p.name for p in (config.out / "progress").iterdir()} == {"step-00000003.png", "step-00000006.png"}
