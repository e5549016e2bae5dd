"""Processes and machines that share the making of a corpus, through dask."""

import asyncio
import contextlib
import importlib.util
import itertools
import logging
import os
import pickle
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from typing import Any

from synth.threads import thread_count

__all__ = ["check_workers", "connect", "local_client", "spread"]

ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9a-fA-F:.]+\]|[^\s/:\[\]]+):(\d{1,5})")
CONNECT_S = 10.0
# How long a scheduler may be without workers: as long as those of a cluster take to start.
LONELY_S = 120.0
POLL_S = 2.0
# Beyond so many processes a processor more of them only take memory.
WORKERS_PER_THREAD = 4
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
)  # fmt: skip
STOPS = (signal.SIGINT, signal.SIGTERM)
# Memory of one volume is kept for the next; by dask's settings each page would be handed back and asked for again.
MEMORY_VARIABLES = {"MALLOC_TRIM_THRESHOLD_": 2**28, "MALLOC_MMAP_THRESHOLD_": 2**25}


def check_workers(workers: Any, scheduler: Any) -> None:
    """Refuse what can be refused before anything is started.

    Parameters
    ----------
    workers : int or None
        Number of processes on this machine.
    scheduler : str or None
        Address of a dask scheduler, ``tcp://host:port``.

    Raises
    ------
    ValueError
        For a number of workers that is not from 1 to four times the processors', what is no address, both at once, or
        if dask is needed and not installed.
    """
    most = max(8, WORKERS_PER_THREAD * thread_count())
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= most):
        raise ValueError(
            f"workers is {workers!r}; give a whole number from 1 to {most} (this machine has {thread_count()} threads)"
        )
    if scheduler is None:
        if workers is not None and workers > 1:
            _require_dask(f"{workers} workers need")
        return
    if workers is not None:
        raise ValueError(
            f"workers is {workers} and the scheduler {scheduler!r}; workers are processes of this machine, a scheduler "
            "brings its own: give one of the two"
        )
    match = ADDRESS.fullmatch(scheduler) if isinstance(scheduler, str) else None
    if match is None or not 0 < int(match[3]) < 2**16:
        raise ValueError(f"the scheduler is {scheduler!r}; give an address like tcp://host:8786, as dask prints it")
    _require_dask("a scheduler needs")


@contextlib.contextmanager
def connect(scheduler: str) -> Iterator[Any]:
    """Give a client of a scheduler that is already running.

    Raises
    ------
    ValueError
        If it does not answer within ten seconds.
    """
    from distributed import Client

    with _quiet():
        try:
            # In a thread, for a notebook has a loop running in this one.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(asyncio.run, _greet(scheduler)).result()
            client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
        # What a server that is no scheduler answers may break dask anywhere.
        except Exception as error:
            raise ValueError(
                f"no dask scheduler answered at '{scheduler}' for {CONNECT_S:g} s; start one with 'dask scheduler' or "
                "mend the address"
            ) from error
        with client:
            yield client


@contextlib.contextmanager
def local_client(workers: int) -> Iterator[Any]:
    """Give a client of a cluster of processes on this machine, which end with this one however it ends.

    Raises
    ------
    ValueError
        If they cannot be started.
    """
    import dask
    from distributed import Client, LocalCluster

    variables = dict.fromkeys(THREAD_VARIABLES, max(1, thread_count() // workers)) | MEMORY_VARIABLES
    settings: dict[str, Any] = {
        **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in variables.items()},
        # Compiled code may keep a worker from its heartbeat for minutes.
        "distributed.scheduler.worker-ttl": None,
        "distributed.worker.profile.enabled": False,
        # No data wait in a worker: spilling and pausing would not free a byte.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
    }
    with _quiet(), _environment_kept(), dask.config.set(settings), contextlib.ExitStack() as stack:
        with _interrupts_held_back(), _starting(workers):
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                # A page that nobody asked for: at least at a free port, and not for other machines.
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
            stack.enter_context(cluster)
        yield stack.enter_context(Client(cluster, set_as_default=False))


def spread(client: Any, make: Callable[[int], Any], indices: Iterable[int]) -> Iterator[Any]:
    """Yield ``make(index)`` for each index, in the order in which they are finished.

    Parameters
    ----------
    client : distributed.Client
        Its workers need this package and whatever `make` touches.
    make : callable
        Runs in a worker. It may run again if the worker is lost, so it must do no harm twice.
    indices : iterable of int
        No more are handed out than there are threads, so that a crash is blamed on one who did it.

    Raises
    ------
    ValueError
        If a call ends its worker time and again, the scheduler is lost, or there are no workers for two minutes; and
        what `make` raises.
    """
    make, waiting, pending = _packed(make), iter(indices), dict[Any, int]()
    seen_workers = time.monotonic()
    try:
        while True:
            width = _thread_total(client)
            seen_workers = time.monotonic() if width else seen_workers
            _refuse_loneliness(client, time.monotonic() - seen_workers)
            for index in itertools.islice(waiting, max(0, max(width, 1) - len(pending))):
                pending[client.submit(make, index, pure=False)] = index
            if not pending:
                return
            for future in _finished(client, pending):
                yield _result(future, pending.pop(future))
    finally:
        with contextlib.suppress(Exception):
            client.cancel(list(pending))


@contextlib.contextmanager
def _starting(workers: int) -> Iterator[None]:
    try:
        yield
    # Dask wraps what happened to a process into errors of several kinds.
    except (RuntimeError, OSError, TimeoutError) as error:
        raise ValueError(
            f"{workers} worker processes could not be started ({error.__cause__ or error}); there may be too little "
            "memory or too many processes: take fewer workers, then give the same command again"
        ) from error


def _require_dask(what: str) -> None:
    if importlib.util.find_spec("distributed") is None:
        raise ValueError(f"{what} dask, which is not installed; type: pip install 'poreforge[cluster]'")


async def _greet(scheduler: str) -> None:
    """Exchange greetings: the client itself would wait without end for those of a server that is no scheduler."""
    from distributed import Security
    from distributed.comm import connect as reach

    async with asyncio.timeout(CONNECT_S):
        comm = await reach(scheduler, timeout=CONNECT_S, **Security().get_connection_args("client"))
        comm.abort()


def _packed(make: Callable[[int], Any]) -> Callable[[int], Any]:
    """Return `make` for the journey: a scheduler opens it without this package, a worker can say that it lacks it."""
    content = pickle.dumps(make)

    # An inner function travels whole and not as a name in this module, so it may use nothing from here.
    def opened(index: int) -> Any:
        import pickle

        return pickle.loads(content)(index)

    return opened


def _thread_total(client: Any) -> int:
    try:
        return sum(client.nthreads().values())
    except (OSError, TimeoutError) as error:
        raise _scheduler_lost(client) from error


def _finished(client: Any, pending: dict[Any, int]) -> list[Any]:
    from distributed import CancelledError, wait

    try:
        with client.as_current():
            wait(list(pending), timeout=POLL_S, return_when="FIRST_COMPLETED")
    except TimeoutError:
        # The caller looks whether there still are workers.
        return []
    except CancelledError as error:
        raise _scheduler_lost(client) from error
    return [future for future in pending if future.status != "pending"]


def _result(future: Any, index: int) -> Any:
    from distributed import CancelledError, KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise ValueError(
            f"volume {index} ended its worker process {error.allowed_failures + 1} times; it may need more memory than "
            "there is: take fewer workers or smaller volumes, then give the same command again"
        ) from error
    except CancelledError as error:
        raise _scheduler_lost(future.client) from error
    except ImportError as error:
        raise ValueError(
            f"a worker cannot make volume {index} ({error}); let the workers run in the environment of this command"
        ) from error


def _refuse_loneliness(client: Any, seconds: float) -> None:
    if seconds > LONELY_S:
        address = client.scheduler.address
        raise ValueError(
            f"the scheduler '{address}' has had no workers for {seconds:.0f} s; start some with "
            f"'dask worker {address}', then give the same command again"
        )


def _scheduler_lost(client: Any) -> ValueError:
    return ValueError(
        f"the scheduler '{client.scheduler.address}' no longer answers; what is complete stays: start it and its "
        "workers anew, then give the same command again"
    )


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    """Undo that dask writes the workers' variables into this process too."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Put off what asks to stop; processes begun meanwhile never get it, so that this one alone ends them."""
    # Its start, otherwise by the first process, would lift the block.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    heard: list[int] = []
    handlers = {}
    # Older threads, such as those of compiled code, do not block it, and what they get is handled in the main thread.
    if threading.current_thread() is threading.main_thread():
        for number in STOPS:
            handlers[number] = signal.signal(number, lambda n, _: heard.append(n)) or signal.SIG_DFL
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if heard:
            signal.raise_signal(heard[0])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep dask's log off stderr: what matters becomes one sentence."""
    import distributed  # noqa: F401 - it names its loggers and their levels

    known = logging.root.manager.loggerDict
    before = {name: logging.getLogger(name).level for name in list(known) if name.split(".")[0] == "distributed"}
    for name in before:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
