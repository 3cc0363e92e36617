"""A function over many items, in this process or on the workers of dask.distributed.

Every worker process builds the function (a model with its weights) once and keeps it. Results come
in the order of the items, and only a few items per worker are under way, so that memory does not
grow with their number. What a lost worker had in hand is done again by another.

A function may also be given as two methods, with ``function(item) ==
function.compute(function.prepare(item))``: then a thread prepares the next item, such as by reading
it, while this one is computed.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import re
import signal
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol, TypeVar

from mmcell.engine.errors import UserError
from mmcell.quiet import quiet_imports

Item = TypeVar('Item')
Result = TypeVar('Result')
Factory = Callable[[], Callable[[Item], Result]]

# One in work, and enough behind it that a slow item lets the other workers go on for a while.
ITEMS_PER_WORKER = 4
# A worker that died is back within seconds; so long without any, nobody is coming.
PATIENCE_S = 60.0
CONNECT_S = 10.0
RECOUNT_S = 2.0
# Functions that a worker keeps: two lists of items may take turns.
KEPT_FUNCTIONS = 2

_kept: OrderedDict[str, Any] = OrderedDict()
_lock, _prepare_lock = threading.Lock(), threading.Lock()
_is_prepared = False


class OrderedMap(Protocol):
    """What :func:`worker_pool` gives: :func:`ordered_map` without its last arguments."""

    def __call__(self, factory: Factory[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
        """See :func:`ordered_map`."""


def ordered_map(
    factory: Factory[Item, Result],
    items: Iterable[Item],
    *,
    workers: int = 0,
    scheduler: str | None = None,
    threads: int = 1,
) -> Iterator[Result]:
    """Apply a function to items; :func:`worker_pool` does it for several lists of items.

    Args:
        factory: builds the function; called once per process. With workers it travels to them, so
            it must be picklable.
        items: taken as they are needed.
        workers: see :func:`worker_pool`.
        scheduler: see there.
        threads: see there.

    Yields:
        The results in the order of the items.

    Raises:
        UserError: As in :func:`worker_pool`, or if an item ends every worker that takes it.
        Exception: What the function raises, unchanged; nothing more is begun then.
    """
    with worker_pool(workers, scheduler, threads) as run:
        yield from run(factory, items)


@contextmanager
def worker_pool(
    workers: int = 0, scheduler: str | None = None, threads: int = 1
) -> Iterator[OrderedMap]:
    """Processes that share work, until the ``with`` block is left, be it by Ctrl-C.

    Args:
        workers: number of processes to start on this machine; 0: work in this one, without dask.
        scheduler: address of a running dask scheduler, such as ``tcp://10.0.0.1:8786``, instead.
        threads: of torch and OpenCV in each worker. 1, because a worker per core keeps all cores
            busy already; this process keeps its own setting.

    Where there are GPUs, worker k computes on GPU k modulo their number, see
    :func:`gpu_of_worker`, as its current CUDA device.

    Raises:
        UserError: If dask is missing, or no scheduler or no worker answers.
        ValueError: If ``workers`` is negative or given together with ``scheduler``.
    """
    if workers < 0:
        raise ValueError(f'workers must be >= 0, got {workers}')
    if workers and scheduler:
        raise ValueError('give workers (to start) or a scheduler (that has some), not both')
    if not workers and not scheduler:
        yield ahead
        return
    _require_dask()
    with _connect(scheduler) if scheduler else _local_cluster(workers) as client:

        def run(factory: Factory[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
            return _map_on(client, factory, items, threads)

        yield run


def in_process(factory: Factory[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
    """:func:`ordered_map` without workers, one item after the other."""
    function = factory()
    for item in items:
        yield function(item)


def ahead(factory: Factory[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
    """:func:`ordered_map` without workers: a thread prepares one item more than asked for."""
    function = factory()
    if not hasattr(function, 'prepare'):
        yield from in_process(lambda: function, items)
        return
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for item in items:
            waiting.append(pool.submit(function.prepare, item))
            if len(waiting) > 1:
                yield function.compute(waiting.popleft().result())
        while waiting:
            yield function.compute(waiting.popleft().result())


def gpu_of_worker(name: object, num_gpus: int) -> int:
    """Index of the GPU for a worker: its number, modulo the GPUs.

    Args:
        name: a number, or ends in one, such as ``'gpu-3'``; any where there is one GPU.
        num_gpus: >= 1, those that the worker sees.

    Raises:
        UserError: If there are several GPUs and the name has no number.
    """
    if num_gpus == 1:
        return 0
    # An address, the name of a worker that was given none, ends in a number, too: its port.
    number = re.fullmatch(r'(?:[^:]*\D)?(\d+)', str(name))
    if number is None:
        raise UserError(
            f'the dask worker {name!r} sees {num_gpus} GPUs, and nothing says which is its own: '
            'start workers with `--name gpu-0`, `--name gpu-1`, ... or show each one GPU '
            '(CUDA_VISIBLE_DEVICES).'
        )
    return int(number[1]) % num_gpus


class _Work(NamedTuple):
    """A factory on its way to the workers."""

    key: str
    pickled_factory: bytes
    threads: int


def _map_on(
    client: Any, factory: Factory[Item, Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    from distributed.protocol.pickle import dumps  # also what the user's script defines itself

    pickled = dumps(factory)
    # A task and no scattered value: if the worker that holds it is lost, dask makes it again.
    work = client.submit(_Work, hashlib.sha256(pickled).hexdigest(), pickled, threads, pure=False)
    waiting: deque[Any] = deque()
    most, asked = 0, -math.inf
    try:
        for item in items:
            if time.monotonic() > asked + RECOUNT_S:  # a cluster may grow or shrink meanwhile
                most, asked = ITEMS_PER_WORKER * max(len(client.nthreads()), 1), time.monotonic()
            waiting.append(client.submit(_run, work, dumps(item), pure=False))
            while len(waiting) >= most:
                yield _result(client, waiting.popleft())
        while waiting:
            yield _result(client, waiting.popleft())
    finally:
        client.cancel([work, *waiting], reason='no longer needed')


def _result(client: Any, future: Any) -> Any:
    """Wait for an item and unpickle its result."""
    from distributed import CancelledError, KilledWorker, TimeoutError, wait

    try:
        while not future.done():
            try:
                with client.as_current():  # wait asks which client is
                    wait(future, timeout=PATIENCE_S)
            except TimeoutError:
                _require_workers(client)
        return pickle.loads(future.result())
    except KilledWorker as error:
        raise UserError(
            f'{error.allowed_failures + 1} workers in a row died of the same piece of work; most '
            'often memory was short: take smaller tiles or fewer workers.'
        ) from None
    except CancelledError as error:  # of one or of several items
        raise UserError(f'the dask scheduler is lost: {error}') from None


def _run(work: _Work, pickled_item: bytes) -> bytes:
    """On a worker: one item. Pickled here: dask would send each array of a result by itself."""
    # One at a time, also on a worker with several threads: readers and models are not shared.
    with _prepare_lock:
        # What is unpickled first imports what it needs. Later, Python would forget which warnings
        # it has shown, and repeat them for every item.
        with nullcontext() if work.key in _kept else quiet_imports():
            _prepare_process(work.threads)
            _take_gpu()
            function, item = _built_once(work), pickle.loads(pickled_item)
        can_prepare = hasattr(function, 'prepare')
        item = function.prepare(item) if can_prepare else item
    with _lock:
        result = function.compute(item) if can_prepare else function(item)
    return pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)


def _prepare_process(threads: int) -> None:
    """Set the threads and the memory of a worker process, once."""
    global _is_prepared
    if _is_prepared:
        return
    import cv2
    import torch

    from mmcell.engine.memory import keep_freed_memory, spare_what_is_loaded

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    keep_freed_memory()  # dask sets glibc to give back more than by default
    spare_what_is_loaded()
    _is_prepared = True


def _take_gpu() -> None:
    """Make the worker's own GPU the current device of this thread."""
    import torch
    from distributed import get_worker

    num_gpus = torch.cuda.device_count()
    if num_gpus:
        torch.cuda.set_device(gpu_of_worker(get_worker().name, num_gpus))


def _built_once(work: _Work) -> Callable[[Any], Any]:
    if work.key not in _kept:
        _kept[work.key] = pickle.loads(work.pickled_factory)()
    _kept.move_to_end(work.key)
    while len(_kept) > KEPT_FUNCTIONS:
        _kept.popitem(last=False)
    return _kept[work.key]


def _require_dask() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"workers need dask.distributed ({error}): pip install 'mmcell[dask]'"
        ) from None


def dask_setup(worker: Any) -> None:
    """Called by dask when a worker process of :func:`_local_cluster` begins."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: this process ends the others


@contextmanager
def _local_cluster(workers: int) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    # The caller gets every error as an exception; dask would print it a second time.
    with (
        dask.config.set({'logging.distributed': 'critical'}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=2,  # one computes while the other hands over what it has
            processes=True,
            dashboard_address='localhost:0',  # a free port: 8787 may be another cluster's
            silence_logs='CRITICAL',
            # By default a worker is ended at its share of the memory, one core's of all cores.
            memory_limit=0,
            preload=__name__,  # dask_setup, also in a worker that follows a lost one
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _connect(scheduler: str) -> Iterator[Any]:
    from distributed import Client

    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f'no dask scheduler answers at {scheduler} ({error}): start `dask scheduler` and on '
            'each machine `dask worker ADDRESS`, and give the address that it prints.'
        ) from None
    with closing(client):
        _require_workers(client)
        yield client


def _require_workers(client: Any) -> None:
    if not client.nthreads():
        raise UserError(
            f'the dask scheduler at {client.scheduler.address} has no workers: start some with '
            f'`dask worker {client.scheduler.address}`.'
        )
