import json

import numpy as np
import pytest
import torch

import volume
from generative import Denoiser, ModelCard, StructurePipeline, cosine_schedule
from poreforge.cli import main
from poreforge.generation import GenerationSettings, generate


@pytest.fixture
def model(tmp_path):
    """A folder with a small model whose weights are random."""
    torch.manual_seed(0)
    denoiser = Denoiser(2, channels=(8,), blocks_per_level=1, attention_levels=0)
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    card = ModelCard("diffusion", ("pore", "LSCF"), (0.1, 0.1, 0.2), patch=(8, 8, 8))
    StructurePipeline(denoiser, cosine_schedule(), card=card).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def test_command_writes_volumes_with_names_and_voxel_size(model, tmp_path, capsys):
    out = tmp_path / "made"
    main(["generate", "--model", str(model), "--shape", "6", "9", "8", "--count", "2", "--steps", "3", "--seed", "4",
          "--fractions", "0.5", "0.5", "--out", str(out)])  # fmt: skip
    assert "2 volumes of (6, 9, 8)" in capsys.readouterr().out
    assert files(out) == ["generate.json", "sample-000.tif", "sample-001.tif", "summary.json"]
    first = volume.read(out / "sample-000.tif")
    assert (first.shape, first.phases, first.voxel_size_um) == ((6, 9, 8), ("pore", "LSCF"), (0.1, 0.1, 0.2))
    assert np.bincount(first.array.ravel()).tolist() == [216, 216]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["mean_fractions"] == [0.5, 0.5]


def test_second_call_keeps_what_is_there_and_adds_what_is_missing(model, tmp_path):
    out, settings = tmp_path / "made", {"shape": (8, 8, 8), "steps": 2, "seed": 1}
    generate(model, out, GenerationSettings(count=3, **settings))
    whole = [volume.read(path).array for path in sorted(out.glob("sample-*"))]
    (out / "sample-001.tif").unlink()
    before = (out / "sample-000.tif").stat().st_mtime_ns
    generate(model, out, GenerationSettings(count=4, **settings))
    again = [volume.read(path).array for path in sorted(out.glob("sample-*"))]
    assert len(again) == 4
    assert np.array_equal(whole, again[:3])
    assert (out / "sample-000.tif").stat().st_mtime_ns == before


def test_volume_on_disk_is_that_in_memory(model, tmp_path):
    settings = {"shape": (10, 8, 13), "steps": 3, "seed": 2, "fractions": (0.3, 0.7)}
    generate(model, tmp_path / "memory", GenerationSettings(format="tif", **settings))
    generate(model, tmp_path / "disk", GenerationSettings(format="zarr", **settings))
    memory, disk = volume.read(tmp_path / "memory/sample-000.tif"), volume.read(tmp_path / "disk/sample-000.zarr")
    assert np.array_equal(memory.array, disk.array)
    assert (memory.phases, memory.voxel_size_um) == (disk.phases, disk.voxel_size_um)
    assert files(tmp_path / "disk") == ["generate.json", "sample-000.zarr", "summary.json"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seed", "5"], "holds volumes made with seed = 0, now seed = 5"),
        (["--shape", "8", "8", "4"], "holds volumes made with shape"),
    ],
)
def test_folder_of_another_request_is_refused(model, tmp_path, capsys, more, message):
    command = ["generate", "--model", str(model), "--steps", "1", "--out", str(tmp_path / "made")]
    main(command)
    before = files(tmp_path / "made")
    with pytest.raises(SystemExit) as stopped:
        main([*command, *more])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert files(tmp_path / "made") == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model", "no-such"], "there is no model 'no-such'"),
        (["--shape", "0", "8", "8"], "give three whole lengths"),
        (["--fractions", "0.5", "0.6"], "they add up to 1.1 and must add up to 1"),
        (["--fractions", "0.2", "0.3", "0.5"], "this model has 2 phases"),
        (["--steps", "1001"], "steps is 1001; it must be between 1 and 1000"),
        (["--count", "no"], "count is 'no'"),
        (["--sampler", "euler"], "'dpm++', 'ddim' or 'ddpm'"),
        (["--format", "png"], "give tif or zarr"),
    ],
)
def test_impossible_requests_are_one_line_and_leave_nothing(model, tmp_path, capsys, more, message):
    command = ["generate", "--model", str(model), "--steps", "1", "--out", str(tmp_path / "made"), *more]
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("poreforge generate: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "made").exists()
