import os
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest
import torch

from mmcell.engine.errors import UserError
from mmcell.inference import distribution
from mmcell.inference.distribution import (
    ITEMS_PER_WORKER,
    ahead,
    gpu_of_worker,
    ordered_map,
    worker_pool,
)

# Functions for the workers are defined inside of others: dask sends such by value, and the workers
# need not find this file.


def network_factory():
    """Floating-point work whose result would differ if anything were done otherwise."""

    def build():
        import torch

        torch.manual_seed(0)
        network = torch.nn.Conv2d(3, 5, 3)
        return lambda seed: network(
            torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(seed))
        ).detach()

    return build


def built_and_done_in():
    """Pairs: a number of its own of each function that was built, the process that did the item."""

    def build():
        built = uuid.uuid4().hex
        return lambda item: (built, os.getpid())

    return build


def sleeper(seconds):
    def build():
        def sleep(item):
            time.sleep(seconds[item % len(seconds)])
            return item, os.getpid()

        return sleep

    return build


@pytest.fixture(scope='module')
def run():
    pytest.importorskip('distributed')
    with worker_pool(2) as run:
        yield run


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_results_come_in_the_order_of_the_items():
    assert list(ordered_map(lambda: lambda item: item * 10, iter([3, 1, 2]))) == [30, 10, 20]


def test_in_process_the_factory_is_called_once_and_items_are_taken_one_by_one():
    built, taken = [], []

    def factory():
        built.append(1)
        return lambda item: item

    def items():
        for item in range(5):
            taken.append(item)
            yield item

    results = ordered_map(factory, items())
    assert (next(results), taken) == (0, [0])
    assert list(results) == [1, 2, 3, 4]
    assert built == [1]


class InTwoSteps:
    """Notes who prepares and who computes; the first item waits for the next to be prepared."""

    def __init__(self):
        self.prepared, self.computed, self.is_next_prepared = [], [], threading.Event()

    def prepare(self, item):
        self.prepared.append((item, threading.current_thread() is threading.main_thread()))
        if item:
            self.is_next_prepared.set()
        return item * 10

    def compute(self, item):
        if not item:
            assert self.is_next_prepared.wait(30)  # while the first is computed
        self.computed.append(threading.current_thread() is threading.main_thread())
        return item + 1

    def __call__(self, item):
        raise AssertionError('in two steps, please')


def test_a_thread_prepares_one_item_while_another_is_computed():
    function, taken = InTwoSteps(), []

    def items():
        for item in range(4):
            taken.append(item)
            yield item

    results = ahead(lambda: function, items())
    assert next(results) == 1 and taken == [0, 1]
    assert list(results) == [11, 21, 31]
    assert function.prepared == [(item, False) for item in range(4)]
    assert function.computed == [True] * 4
    assert list(ahead(InTwoSteps, [])) == []
    assert list(ahead(InTwoSteps, [5])) == [51]


def test_what_fails_while_it_is_prepared_ends_its_own_item():
    class Picky(InTwoSteps):
        def prepare(self, item):
            if item == 3:
                raise OSError('3 is damaged')
            return item + 1

    results = ahead(Picky, [1, 2, 3, 4])
    assert [next(results), next(results)] == [3, 4]
    with pytest.raises(OSError, match='3 is damaged'):
        next(results)


def test_without_workers_dask_is_not_imported():
    program = (
        'import sys; from mmcell.inference.distribution import ordered_map;'
        'print(list(ordered_map(lambda: abs, [-1])));'
        'sys.exit("dask" in sys.modules or "distributed" in sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ('[1]\n', 0), done.stderr


def test_workers_prepare_items_too(run):
    def build():
        class Steps:
            def prepare(self, item):
                return item * 10

            def compute(self, item):
                return item + 1

        return Steps()

    assert list(run(build, range(5))) == [1, 11, 21, 31, 41]


def test_missing_dask_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'distributed', None)
    with pytest.raises(UserError, match=r"pip install 'mmcell\[dask\]'"), worker_pool(2):
        pass


def test_refuses_a_negative_number_of_workers():
    with pytest.raises(ValueError, match='workers must be >= 0, got -1'), worker_pool(-1):
        pass


def test_refuses_workers_beside_a_scheduler():
    with pytest.raises(ValueError, match='not both'), worker_pool(2, 'tcp://localhost:8786'):
        pass


@pytest.mark.parametrize(
    ('name', 'num_gpus', 'gpu'),
    [
        (0, 2, 0),
        (1, 2, 1),
        (2, 2, 0),
        (5, 3, 2),
        ('7', 4, 3),
        ('gpu-3', 8, 3),
        ('SLURMCluster-12', 8, 4),
        ('tcp://10.0.0.1:41231', 1, 0),
        ('any', 1, 0),
    ],
)
def test_worker_k_takes_gpu_k_modulo_their_number(name, num_gpus, gpu):
    assert gpu_of_worker(name, num_gpus) == gpu


@pytest.mark.parametrize('name', ['tcp://10.0.0.1:41231', 'any', 'gpu-3b'])
def test_a_worker_without_a_number_is_told_how_to_get_a_gpu(name):
    with pytest.raises(UserError, match=f'{name}.* sees 2 GPUs.*--name gpu-0'):
        gpu_of_worker(name, 2)


def test_workers_give_the_same_bits_as_this_process(run, one_thread):
    expected = list(ordered_map(network_factory(), range(20)))
    for result, wanted in zip(run(network_factory(), range(20)), expected, strict=True):
        assert torch.equal(result, wanted)


def test_slow_items_do_not_change_the_order_and_both_workers_have_some(run):
    results = list(run(sleeper([0.3, 0.0, 0.1]), range(30)))
    assert [item for item, _ in results] == list(range(30))
    pids = {pid for _, pid in results}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_every_worker_builds_the_function_once_for_all_its_items(run):
    factory = built_and_done_in()
    # The second time as for the tiles of another image.
    pairs = [pair for _ in range(2) for pair in run(factory, range(12))]
    assert len(pairs) == 24 and len(set(pairs)) == len({done for _, done in pairs})


def test_few_items_are_under_way_however_many_there_are(run):
    taken = []
    items = (taken.append(item) or item for item in range(100))
    for done, _ in enumerate(run(sleeper([0.0]), items), 1):
        assert len(taken) <= done + 2 * ITEMS_PER_WORKER
    assert done == len(taken) == 100


def test_workers_compute_with_one_thread(run):
    def build():
        import cv2
        import torch

        return lambda item: (torch.get_num_threads(), cv2.getNumThreads())

    assert set(run(build, range(4))) == {(1, 1)}
    with worker_pool(1, threads=2) as run_with_two:  # dask's own default is one
        assert set(run_with_two(build, range(2))) == {(2, 2)}


def test_an_error_arrives_unchanged_and_the_workers_go_on(run):
    def build():
        def refuse_seven(item):
            if item == 7:
                raise ValueError('item 7 is broken')
            return item

        return refuse_seven

    results = run(build, range(1000))
    assert [next(results) for _ in range(7)] == list(range(7))
    with pytest.raises(ValueError, match='^item 7 is broken$'):
        next(results)
    assert list(run(build, range(3))) == [0, 1, 2]


def test_an_error_of_the_factory_arrives_unchanged(run):
    def build():
        raise FileNotFoundError('no weights.pth')

    with pytest.raises(FileNotFoundError, match='^no weights.pth$'):
        list(run(build, range(3)))


def test_a_lost_worker_loses_and_doubles_nothing(one_thread):
    pytest.importorskip('distributed')

    def build():
        function = network_factory()()

        def slowly(item):
            time.sleep(0.05)
            return os.getpid(), function(item)

        return slowly

    pids, tensors = [], []
    with worker_pool(2) as run:
        for pid, tensor in run(build, range(60)):
            pids.append(pid)
            tensors.append(tensor)
            if len(pids) == 20:
                os.kill(pid, signal.SIGKILL)
    expected = list(ordered_map(network_factory(), range(60)))
    assert len(tensors) == 60
    assert all(map(torch.equal, tensors, expected))
    assert len(set(pids)) >= 2


def test_an_item_that_ends_every_worker_is_an_error():
    dask = pytest.importorskip('dask')
    pytest.importorskip('distributed')
    with (
        dask.config.set({'distributed.scheduler.allowed-failures': 1}),
        pytest.raises(UserError, match='2 workers in a row died'),
    ):
        list(ordered_map(lambda: lambda item: os._exit(1), range(1), workers=1))


def test_a_running_scheduler_lends_its_workers_and_keeps_them():
    distributed = pytest.importorskip('distributed')
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address='localhost:0'
    ) as cluster:
        address = cluster.scheduler_address
        results = list(ordered_map(built_and_done_in(), range(9), scheduler=address))
        assert len(set(results)) == 1  # two threads, but one function and one process
        again = list(ordered_map(built_and_done_in(), range(9), scheduler=address))
        assert again == results


def test_a_scheduler_without_workers_is_an_error():
    distributed = pytest.importorskip('distributed')
    with distributed.LocalCluster(n_workers=0, dashboard_address='localhost:0') as cluster:
        address = cluster.scheduler_address
        with pytest.raises(UserError, match=f'has no workers: start .*`dask worker {address}`'):
            list(ordered_map(lambda: abs, [1], scheduler=address))


def test_no_scheduler_at_the_address_is_an_error(monkeypatch):
    pytest.importorskip('distributed')
    monkeypatch.setattr(distribution, 'CONNECT_S', 0.5)
    with pytest.raises(UserError, match=r'no dask scheduler answers at tcp://127.0.0.1:9 '):
        list(ordered_map(lambda: abs, [1], scheduler='tcp://127.0.0.1:9'))


def test_ctrl_c_ends_the_workers_without_their_tracebacks(tmp_path, ctrl_c):
    pytest.importorskip('distributed')
    script = tmp_path / 'script.py'
    script.write_text(
        'import os, time\n'
        'from mmcell.inference.distribution import ordered_map\n'
        'def slow(item):\n'
        '    time.sleep(0.2)\n'
        '    return os.getpid()\n'
        'def build():\n'
        '    return slow\n'
        'if __name__ == "__main__":\n'
        '    for pid in ordered_map(build, range(1000), workers=2):\n'
        '        print(pid, flush=True)\n'
    )
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    pids = {int(process.stdout.readline()) for _ in range(10)}
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors.count('Traceback') == 1
    assert errors.endswith('KeyboardInterrupt\n')
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
