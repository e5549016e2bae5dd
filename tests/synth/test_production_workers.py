"""Several processes make one corpus: the same bytes, whoever dies, and nobody left behind."""

import contextlib
import ctypes
import dataclasses
import functools
import importlib.util
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import dask
import deadly_work
import psutil
import pytest
from deadly_work import double_or_die
from distributed import LocalCluster

from poreforge import cli
from synth import production, workers
from synth.production import CorpusConfig, produce_corpus
from volume import Corpus

ROOT = Path(__file__).resolve().parents[2]
CONFIG = CorpusConfig(
    recipe={"generator": "sphere_pack", "shape": [8, 10, 12], "porosity": {"uniform": [0.3, 0.7]}, "diameter_vox": 4},
    microscope={"instrument": "fibsem"},
    count=12,
    seed=4,
)
DEADLINE_S = 90


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "whole"
    produce_corpus(CONFIG, folder)
    return folder


# Processes on this machine


@pytest.fixture(scope="module")
def two_processes():
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), workers.local_client(2) as client:
        yield client


def test_work_of_a_killed_worker_is_done_again(two_processes, tmp_path):
    made = list(workers.spread(two_processes, functools.partial(double_or_die, tmp_path, False), range(6)))
    assert sorted(made) == [0, 2, 4, 6, 8, 10]
    assert (tmp_path / "died").exists()


def test_volume_that_always_kills_its_worker_is_named(two_processes, tmp_path):
    with pytest.raises(ValueError, match="volume 2 ended its worker process 2 times; it may need more memory"):
        list(workers.spread(two_processes, functools.partial(double_or_die, tmp_path, True), range(6)))


def test_threads_are_shared_and_memory_is_kept(two_processes):
    for environment in two_processes.run(deadly_work.variables).values():
        assert {environment[name] for name in workers.THREAD_VARIABLES} == {str(max(1, workers.thread_count() // 2))}
        assert {name: int(environment[name]) for name in workers.MEMORY_VARIABLES} == workers.MEMORY_VARIABLES


def test_own_environment_comes_back(monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "7")
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with workers._environment_kept():
        os.environ |= {"NUMBA_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "1"}
    assert os.environ["NUMBA_NUM_THREADS"] == "7"
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_request_to_stop_waits_until_the_processes_are_up(number):
    """Dask's start, broken off in the middle, would end in its tracebacks; other threads must not let it through."""
    heard, done = [], threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    before = signal.signal(number, lambda *_: heard.append(number))
    try:
        with workers._interrupts_held_back():
            os.kill(os.getpid(), number)
            time.sleep(0.05)
            assert heard == []
        assert heard == [number]
    finally:
        done.set()
        signal.signal(number, before)


def test_processes_that_cannot_start_are_a_sentence(monkeypatch):
    def failing(*_, **__):
        raise RuntimeError("Nanny failed to start.") from RuntimeError("out of processes")

    monkeypatch.setattr("distributed.LocalCluster", failing)
    message = r"^2 worker processes could not be started \(out of processes\); .*take fewer workers"
    with pytest.raises(ValueError, match=message), workers.local_client(2):
        pass


def test_work_is_opened_without_this_package_and_its_absence_is_an_import_error():
    """A scheduler's or a worker's process may have dask and nothing of this project."""
    import cloudpickle

    with pytest.MonkeyPatch.context() as patch:
        content = cloudpickle.dumps(workers._packed(production._make_sample))
        for name in [name for name in sys.modules if name.split(".")[0] == "synth"]:
            patch.setitem(sys.modules, name, None)
        opened = cloudpickle.loads(content)
        with pytest.raises(ImportError, match="synth"):
            opened(0)
    assert workers._packed(abs)(-3) == 3


def test_worker_without_this_package_is_told_what_it_needs():
    def missing():
        raise ModuleNotFoundError("No module named 'synth'")

    with pytest.raises(ValueError, match=r"cannot make volume 5 \(No module named 'synth'\); let the workers run in"):
        workers._result(SimpleNamespace(result=missing), 5)


def test_interrupt_that_compiled_code_swallows_comes_again(capsys):
    """Python prints what a callback raises and goes on; so did the command, as if nobody had asked it to stop."""

    @ctypes.CFUNCTYPE(None)
    def called_back():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)

    def work_on():
        called_back()
        time.sleep(DEADLINE_S)

    hook, handler = sys.unraisablehook, signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop, cli._stopping_politely("poreforge corpus", "the same command goes on"):
        work_on()
    assert stop.value.code == 130
    assert capsys.readouterr().err == "poreforge corpus: interrupted; the same command goes on\n"
    assert (sys.unraisablehook, signal.getsignal(signal.SIGTERM)) == (hook, handler)


@pytest.mark.parametrize("given", ["x", "1.5", "0", "-1"])
def test_command_refuses_impossible_workers_in_one_line(tmp_path, capsys, given):
    (tmp_path / "corpus.yaml").write_text(str(dataclasses.asdict(CONFIG)).replace("None", "null"))
    with pytest.raises(SystemExit) as stop:
        cli.main(
            ["corpus", "--config", str(tmp_path / "corpus.yaml"), "--out", str(tmp_path / "c"), f"--workers={given}"]
        )
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{given!r}" in error or f"is {given};" in error
    assert not (tmp_path / "c").exists()


SLOW_COMMAND = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from synth import production

make = production.produce_sample

def produce_slowly(*arguments, **keywords):
    time.sleep(0.3)
    return make(*arguments, **keywords)

production.produce_sample = produce_slowly
if __name__ == "__main__":
    from poreforge.cli import main
    main(sys.argv[1:])
"""


def begin(tmp_path):
    """Start a command that makes each volume slowly, in two processes of its own."""
    (tmp_path / "slow.py").write_text(SLOW_COMMAND)
    (tmp_path / "corpus.yaml").write_text(str(dataclasses.asdict(CONFIG)).replace("None", "null"))
    arguments = ["corpus", "--config", str(tmp_path / "corpus.yaml"), "--out", str(tmp_path / "c"), "--workers", "2"]
    return subprocess.Popen(
        [sys.executable, str(tmp_path / "slow.py"), *arguments],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs ignore Ctrl-C; this one must not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def lines(folder):
    manifest = folder / "manifest.jsonl"
    return manifest.read_bytes().count(b"\n") if manifest.exists() else 0


def test_kill_and_ctrl_c_leave_no_process_and_resume_to_the_same_bytes(whole, tmp_path):
    for number, done in ((signal.SIGKILL, 3), (signal.SIGINT, 7)):
        process = begin(tmp_path)
        wait_until(lambda enough=done, run=process: lines(tmp_path / "c") >= enough or run.poll() is not None)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        if number == signal.SIGINT:
            # As a terminal does: to all processes in the foreground.
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        out, errors = process.communicate(timeout=DEADLINE_S)
        _, left = psutil.wait_procs(children, timeout=DEADLINE_S)
        assert left == []
        assert out == ""
    assert process.returncode == 130
    assert errors.splitlines() == [
        f"poreforge corpus: interrupted; what is complete in '{tmp_path / 'c'}' stays, the same command goes on"
    ]
    assert 7 <= len(Corpus(tmp_path / "c")) < CONFIG.count
    produce_corpus(CONFIG, tmp_path / "c", workers=1)
    assert contents(tmp_path / "c") == contents(whole)


# A scheduler of one's own


@contextlib.contextmanager
def scheduler(n_workers):
    with LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster


def test_scheduler_makes_the_same_bytes(whole, tmp_path):
    with scheduler(2) as cluster:
        produce_corpus(CONFIG, tmp_path / "c", scheduler=cluster.scheduler_address)
    assert contents(tmp_path / "c") == contents(whole)


def test_refusal_in_a_worker_names_the_volume_and_keeps_the_others(tmp_path):
    impossible = dataclasses.replace(
        CONFIG, recipe=CONFIG.recipe | {"diameter_vox": {"choice": [4, 4, 4, -1]}}, seed=4, count=12
    )
    with scheduler(1) as cluster, pytest.raises(ValueError, match=r"^volume [1-9]\d*: .*diameter") as refusal:
        produce_corpus(impossible, tmp_path / "c", scheduler=cluster.scheduler_address)
    assert len(Corpus(tmp_path / "c")) == int(str(refusal.value).split(":")[0].removeprefix("volume "))
    assert Corpus(tmp_path / "c").verify() == []


def test_scheduler_without_workers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "LONELY_S", 0.3)
    monkeypatch.setattr(workers, "POLL_S", 0.05)
    with scheduler(0) as cluster, pytest.raises(ValueError, match=r"has had no workers for .* 'dask worker tcp://"):
        produce_corpus(CONFIG, tmp_path / "c", scheduler=cluster.scheduler_address)
    assert len(Corpus(tmp_path / "c")) == 1


def test_scheduler_that_is_lost_on_the_way_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "POLL_S", 0.05)
    make = production.produce_sample
    # How long dask itself tries to find a lost scheduler again.
    with dask.config.set({"distributed.comm.timeouts.connect": "500ms"}), scheduler(1) as cluster:

        def losing(*arguments, index, **keywords):
            if index == 3:
                cluster.loop.add_callback(cluster.scheduler.close)
                time.sleep(0.5)
            return make(*arguments, index=index, **keywords)

        monkeypatch.setattr(production, "produce_sample", losing)
        with pytest.raises(ValueError, match="no longer answers; what is complete stays"):
            produce_corpus(CONFIG, tmp_path / "c", scheduler=cluster.scheduler_address)
    assert Corpus(tmp_path / "c").missing(3) == []


@pytest.mark.parametrize("listening", [False, True])
def test_dead_or_silent_scheduler_is_refused_in_bounded_time_and_nothing_is_written(tmp_path, monkeypatch, listening):
    monkeypatch.setattr(workers, "CONNECT_S", 0.5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listening:
            server.listen()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(ValueError, match=f"no dask scheduler answered at '{address}' for 0.5 s; start"):
            produce_corpus(CONFIG, tmp_path / "c", scheduler=address)
    assert time.monotonic() - begun < 10
    assert list(tmp_path.iterdir()) == []


def test_worker_that_does_not_see_the_folder_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"does not see the corpus folder .*; choose a folder on a file system"):
        production._make_sample(CONFIG, str(tmp_path / "elsewhere"), 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, "workers is 0; give a whole number from 1"),
        ({"workers": -2}, "workers is -2"),
        ({"workers": 1.5}, "workers is 1.5"),
        ({"workers": True}, "workers is True"),
        ({"workers": "x"}, "workers is 'x'; give a whole number from 1"),
        ({"workers": 10**6}, "workers is 1000000; .* to "),
        ({"workers": 2, "scheduler": "tcp://host:8786"}, "workers is 2 and the scheduler .*give one of the two"),
        ({"scheduler": "host:8786"}, "give an address like tcp://host:8786"),
        ({"scheduler": "tcp://host"}, "give an address like"),
        ({"scheduler": "tcp://host:99999"}, "give an address like"),
        ({"scheduler": "http://host:8786"}, "give an address like"),
        ({"scheduler": ""}, "give an address like"),
        ({"scheduler": 8786}, "give an address like"),
    ],
)
def test_impossible_workers_are_refused_before_anything_is_made(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        produce_corpus(CONFIG, tmp_path / "c", **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [{"workers": 2}, {"scheduler": "tcp://127.0.0.1:1"}])
def test_missing_dask_is_named_with_the_remedy(tmp_path, monkeypatch, given):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"dask, which is not installed; type: pip install 'poreforge\[cluster\]'"):
        produce_corpus(CONFIG, tmp_path / "c", **given)


def test_one_process_needs_no_dask(tmp_path, monkeypatch):
    for name in ("dask", "distributed"):
        monkeypatch.setitem(sys.modules, name, None)
    for module in (workers, production):
        runpy.run_path(module.__file__)
    assert len(produce_corpus(dataclasses.replace(CONFIG, count=1), tmp_path / "c", workers=1)) == 1
