"""The house rules that code can hold: which way imports run, what is loaded when, how files are named."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LISTED = PROJECT["tool"]["setuptools"]["packages"]
TOP = sorted({name.split(".")[0] for name in LISTED})
HEAVY = (
    "SimpleITK", "bpy", "dask", "h5py", "matplotlib", "monai", "porespy", "pyvista", "quantimpy", "skimage",
    "sklearn", "taufactor", "tifffile", "trimesh", "zarr",
)  # fmt: skip


def modules():
    return [path for name in TOP for path in (ROOT / name).rglob("*.py")]


def loaded_by(*names):
    """Return the top-level modules that a fresh interpreter has loaded after these imports."""
    code = f"import sys, {', '.join(names)}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_import_contracts_hold():
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(config_filename='pyproject.toml'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout
    assert f"{len(PROJECT['tool']['importlinter']['contracts'])} kept, 0 broken" in done.stdout


def test_contracts_speak_of_every_package():
    linter = PROJECT["tool"]["importlinter"]
    assert sorted(linter["root_packages"]) == TOP
    layers = next(c["layers"] for c in linter["contracts"] if c["type"] == "layers")
    assert sorted(re.findall(r"\w+", " ".join(layers))) == TOP


def test_reading_and_measuring_load_neither_torch_nor_what_is_heavy():
    loaded = loaded_by("launch", "volume", "evaluate")
    assert {"numpy", "volume"} <= loaded
    assert loaded & {"torch", "diffusers", "accelerate", *HEAVY} == set()


def test_training_starts_without_the_heavy_packages():
    loaded = loaded_by("generative.train_ddpm", "segment.train")
    assert {"torch", "accelerate"} <= loaded
    assert loaded & {*HEAVY, "numba"} == set()


def test_structures_and_microscopes_are_made_without_torch():
    loaded = loaded_by("synth", "synth.production")
    assert loaded & {"torch", "diffusers", "accelerate", *HEAVY} == set()


def test_packages_listed_are_the_folders_that_are_packages():
    found = {
        ".".join(init.parent.relative_to(ROOT).parts)
        for folder in ROOT.iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and folder.name not in ("tests", "build", "dist")
        for init in folder.rglob("__init__.py")
    }
    assert found == set(LISTED)
    assert len(LISTED) == len(set(LISTED))


def test_no_module_has_the_name_of_a_dependency():
    """`accelerate launch segment/train.py` puts the folder of the script first: its files would win."""
    scripts = [path for path in modules() if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
    beside_a_script = {path.stem for script in scripts for path in script.parent.glob("*.py")} - {
        "__init__",
        "__main__",
    }
    required = [re.match(r"[\w.-]+", line)[0] for line in PROJECT["project"]["dependencies"]]
    distributions = {re.sub(r"[-_.]+", "-", name).lower() for name in required}
    names = {
        top
        for top, owners in metadata.packages_distributions().items()
        if distributions & {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners}
    }
    assert {"torch", "skimage", "yaml", "SimpleITK"} <= names
    assert {"train", "training"} <= beside_a_script
    assert {path.stem for path in modules()} & names == set()
    assert {part for name in LISTED for part in name.split(".")} & names == set()
    assert beside_a_script & set(sys.stdlib_module_names) == set()


def test_no_room_is_named_after_nothing():
    names = {"utils", "util", "common", "helpers", "misc"}
    assert [str(path) for path in modules() if names & set(path.relative_to(ROOT).with_suffix("").parts)] == []


def test_test_files_have_names_of_their_own():
    """Without packages pytest knows a test file by its bare name."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
    assert list((ROOT / "tests").rglob("__init__.py")) == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_says_what_it_is_for_in_a_line(path):
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    assert re.fullmatch(r'"""\S.*[.:](""")?', first), first
