import json
import shutil

import numpy as np
import pytest
import torch

import volume
from generative import Denoiser, ModelCard, StructurePipeline, cosine_schedule, load
from generative.rivals.adversarial import AdversarialPipeline
from generative.rivals.volume_generator import VolumeGenerator
from generative.slab_store import FolderStore
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
        (["--steps", "many"], "steps is 'many'"),
        (["--count", "0"], "count is 0; give a whole number of at least 1"),
        (["--seed", "-1"], "seed is -1"),
        (["--first", "-1"], "first is -1"),
        (["--overlap", "wide"], "overlap is 'wide'"),
        (["--overlap", "8"], "it must be smaller than the window"),
        (["--guidance", "nan"], "guidance_scale is nan"),
        (["--fractions", "nan", "1"], "each must be between 0 and 1"),
        (["--shape", "60000", "60000", "60000"], "GB of disk"),
        (["--devices", "gpu9"], "device 'gpu9' cannot be used"),
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


def test_folder_of_other_weights_is_refused_and_of_moved_ones_is_not(model, tmp_path, capsys):
    """A training that goes on puts other weights under the same name."""
    ask = GenerationSettings(steps=1)
    generate(model, tmp_path / "made", ask)
    moved = tmp_path / "moved"
    shutil.copytree(model, moved)
    generate(moved, tmp_path / "made", ask)
    pipe = load(model, device="cpu")
    torch.nn.init.constant_(pipe.denoiser.head[-1].bias, 0.3)
    pipe.save_pretrained(model)
    with pytest.raises(ValueError, match="holds volumes made with weights = "):
        generate(model, tmp_path / "made", ask)


def test_what_killed_calls_left_of_a_complete_volume_is_removed(model, tmp_path):
    out, ask = tmp_path / "made", GenerationSettings(steps=1, format="zarr")
    generate(model, out, ask)
    (out / ".sample-000.zarr-walk").mkdir()
    (out / ".sample-000.zarr-walk" / "walk.json").write_text("{}")
    (out / ".0123abcd-sample-000.zarr").mkdir()
    generate(model, out, ask)
    assert files(out) == ["generate.json", "sample-000.zarr", "summary.json"]


def test_command_killed_in_a_walk_goes_on_to_the_same_volume(model, tmp_path, monkeypatch):
    ask = GenerationSettings(steps=4, format="zarr", shape=(10, 8, 8))
    generate(model, tmp_path / "whole", ask)
    finish, left = FolderStore.finish, [3]

    def stop_at_third(store):
        finish(store)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FolderStore, "finish", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            generate(model, tmp_path / "made", ask)
    assert files(tmp_path / "made") == [".sample-000.zarr-walk", "generate.json"]
    generate(model, tmp_path / "made", ask)
    whole, made = (volume.read(tmp_path / name / "sample-000.zarr").array for name in ("whole", "made"))
    assert np.array_equal(whole, made)


@pytest.fixture
def rival(tmp_path):
    """A folder with a small generator of the kind of a GAN."""
    torch.manual_seed(0)
    net = VolumeGenerator(2, 4, (8,), kernels=(4, 4), strides=(2, 2), paddings=(2, 2))
    AdversarialPipeline(net, ModelCard("dcgan", ("pore", "LSCF"), patch=(8, 8, 8))).save_pretrained(tmp_path / "gan")
    return tmp_path / "gan"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--steps", "5"], "steps is 5, but a model of the kind 'dcgan' takes no steps"),
        (["--sampler", "ddim"], "sampler is 'ddim', but a model of the kind 'dcgan'"),
        (["--overlap", "2"], "overlap is 2, but"),
        (["--periodic", "--shape", "8", "8", "9"], "lengths that are multiples of 4"),
        (["--devices", "cpu", "cpu"], "works on one device"),
    ],
)
def test_rival_refuses_what_it_cannot_do_and_leaves_nothing(rival, tmp_path, capsys, more, message):
    with pytest.raises(SystemExit) as stopped:
        main(["generate", "--model", str(rival), "--out", str(tmp_path / "made"), *more])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
    generate(rival, tmp_path / "made", GenerationSettings(periodic=True))
    assert (tmp_path / "made" / "sample-000.tif").is_file()
