import argparse
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mmcell.engine import launch
from mmcell.engine.errors import ConfigError
from mmcell.engine.options import export_local_rank

LAUNCHERS = ('SLURM_', 'MASTER_', 'OMPI_', 'LOCAL_RANK', 'RANK', 'WORLD_SIZE')


@pytest.fixture
def joined(monkeypatch):
    """The groups that were joined, in an environment without launcher or GPU."""
    for name in [name for name in launch.os.environ if name.startswith(LAUNCHERS)]:
        monkeypatch.delenv(name)
    groups = []
    monkeypatch.setattr(launch.torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(
        launch,
        'distributed',
        SimpleNamespace(
            is_initialized=lambda: False,
            init_process_group=lambda backend, **of: groups.append((backend, of)),
        ),
    )
    return groups


def test_slurm_without_gpu_meets_on_its_first_node(joined, monkeypatch, tmp_path):
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames node[3-4]" ] && echo node3 && echo node4\n'
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    for name, value in (('PROCID', '1'), ('NTASKS', '2'), ('NODELIST', 'node[3-4]')):
        monkeypatch.setenv(f'SLURM_{name}', value)
    for name in ('MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, 'x')  # so that what is set below is undone
        monkeypatch.delenv(name)
    launch.prepare_processes(Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl')))), 'slurm')
    assert joined == [('gloo', dict(rank=1, world_size=2))]
    assert launch.os.environ['MASTER_ADDR'] == 'node3'
    assert launch.os.environ['MASTER_PORT'] == '29500'


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_a_launcher_that_did_not_start_the_process_is_refused(joined, monkeypatch, launcher):
    monkeypatch.setenv('MASTER_PORT', '29500')
    monkeypatch.setenv('SLURM_NODELIST', 'node[3-4]')  # in a container there is no scontrol
    monkeypatch.setenv('PATH', '')
    cfg = Config(dict(env_cfg=dict(dist_cfg=dict(backend='nccl'))))
    with pytest.raises(ConfigError, match=f'--launcher {launcher} needs MASTER_ADDR'):
        launch.prepare_processes(cfg, launcher)
    assert joined == []


@pytest.mark.parametrize(('variable', 'expected'), [(None, '1'), ('3', '3')])
def test_the_local_rank_is_that_of_mpi_where_it_started_the_process(
    joined, monkeypatch, variable, expected
):
    monkeypatch.setenv('LOCAL_RANK', 'x')
    monkeypatch.delenv('LOCAL_RANK')
    if variable is not None:
        monkeypatch.setenv('OMPI_COMM_WORLD_LOCAL_RANK', variable)
    export_local_rank(argparse.Namespace(local_rank=1))
    assert launch.os.environ['LOCAL_RANK'] == expected
