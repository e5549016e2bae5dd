import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from launch import make_output_folder, record, replace_when_complete, write_record

ROOT = Path(__file__).resolve().parents[2]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def write_folder(path, text):
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "file").write_text(text)


# Complete or absent


def test_file_appears_only_when_the_block_is_done(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with replace_when_complete(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert contents(tmp_path) == {"new/a.txt": "whole"}


def test_temporary_name_keeps_the_suffix_and_the_folder(tmp_path):
    with replace_when_complete(tmp_path / "a.ome.tif") as temporary:
        assert temporary.suffixes == [".ome", ".tif"]
        assert temporary.parent == tmp_path
        temporary.touch()


@pytest.mark.parametrize("older", [True, False])
def test_error_in_the_block_leaves_only_the_older_file(tmp_path, older):
    path = tmp_path / "a.txt"
    if older:
        path.write_text("older")

    def fail():
        with replace_when_complete(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert contents(tmp_path) == ({"a.txt": "older"} if older else {})


@pytest.mark.parametrize("older", [True, False])
def test_error_in_the_block_leaves_only_the_older_folder(tmp_path, older):
    path = tmp_path / "run"
    if older:
        write_folder(path, "older")

    def fail():
        with replace_when_complete(path) as temporary:
            write_folder(temporary, "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert contents(tmp_path) == ({"run/deep/file": "older"} if older else {})
    assert [p.name for p in tmp_path.iterdir()] == (["run"] if older else [])


def test_folder_replaces_an_older_folder_whole(tmp_path):
    write_folder(tmp_path / "run", "older")
    (tmp_path / "run" / "left").write_text("gone")
    with replace_when_complete(tmp_path / "run") as temporary:
        write_folder(temporary, "newer")
    assert contents(tmp_path) == {"run/deep/file": "newer"}
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_block_that_makes_nothing_is_an_error_and_keeps_the_older_folder(tmp_path):
    write_folder(tmp_path / "run", "older")
    with pytest.raises(FileNotFoundError), replace_when_complete(tmp_path / "run"):
        pass
    assert contents(tmp_path) == {"run/deep/file": "older"}


def test_place_below_a_regular_file_is_refused_by_name(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(ValueError, match=f"cannot write to the output folder '{folder}'.*choose another"):
            make_output_folder(folder)
    with (
        pytest.raises(ValueError, match="cannot write to the output folder"),
        replace_when_complete(tmp_path / "file" / "a.txt"),
    ):
        pytest.fail("the block must not begin")


def test_output_folder_is_made_and_left_empty(tmp_path):
    folder = make_output_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


# One line of error


def run_program(tmp_path, body, **environment):
    script = tmp_path / "program.py"
    script.write_text(
        "from launch import exit_on_bad_input\nwith exit_on_bad_input('tool'):\n" + textwrap.indent(body, "    ")
    )
    keep = {k: v for k, v in os.environ.items() if k != "POREFORGE_TRACEBACK"}
    return subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env=keep | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("raise ValueError('shape is\\n   wrong')", "tool: error: shape is wrong\n"),
        ("raise ValueError", "tool: error: ValueError\n"),
        ("open('missing.tif')", "tool: error: [Errno 2] No such file or directory: 'missing.tif'\n"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_status_2(tmp_path, body, line):
    done = run_program(tmp_path, body)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_interrupt_is_one_line_and_status_130(tmp_path):
    # Jobs that a shell runs in the background ignore the signal, and so do their children.
    body = "import os, signal as s, time; s.signal(s.SIGINT, s.default_int_handler); os.kill(os.getpid(), s.SIGINT)"
    done = run_program(tmp_path, f"{body}; time.sleep(9)")
    assert (done.returncode, done.stderr) == (130, "tool: interrupted\n")


def test_traceback_is_shown_to_whoever_asks_and_for_faults_of_the_program(tmp_path):
    asked = run_program(tmp_path, "raise ValueError('x')", POREFORGE_TRACEBACK="1")
    fault = run_program(tmp_path, "None.x")
    assert asked.stderr.endswith("ValueError: x\n")
    assert fault.stderr.startswith("Traceback")
    assert (asked.returncode, fault.returncode) == (1, 1)


# The record


@dataclass(frozen=True)
class Settings:
    out: Path
    rate: float = np.float64(0.25)
    sizes: tuple[int, ...] = (1, 2)


def test_record_holds_settings_seed_command_and_versions(tmp_path):
    path = write_record(tmp_path / "run", Settings(Path("x/y")), seed=7)
    assert path == tmp_path / "run" / "run.json"
    found = json.loads(path.read_text())
    assert found["config"] == {"out": "x/y", "rate": 0.25, "sizes": [1, 2]}
    assert found["seed"] == 7
    assert found["command"] == sys.argv
    assert found["software"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["software"]["packages"]["numpy"] == np.__version__
    assert found["software"]["packages"]["torch"] == metadata.version("torch")
    assert "not-installed" not in found["software"]["packages"]
    assert [p.name for p in path.parent.iterdir()] == ["run.json"]


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "one")
    return tmp_path


def as_if_in(folder, monkeypatch):
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(record, "__file__", str(folder / "record.py"))
    return record.describe_software()["commit"]


def test_commit_is_that_of_the_checkout_and_says_if_files_were_changed(repository, monkeypatch):
    head = git(repository, "rev-parse", "HEAD")[:12]
    (repository / "a").write_text("1")
    assert as_if_in(repository / "launch", monkeypatch) == head
    git(repository, "add", "a")
    assert as_if_in(repository / "launch", monkeypatch) == f"{head}-dirty"


def test_installed_copy_inside_another_repository_claims_no_commit_of_it(repository, monkeypatch):
    assert as_if_in(repository / "venv" / "site-packages" / "launch", monkeypatch) is None
