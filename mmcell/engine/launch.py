"""Several processes on machines without CUDA."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from contextlib import suppress

import torch
from mmengine.config import Config
from torch import distributed

from .errors import ConfigError

# launcher -> environment variables holding (rank, number of processes)
_RANK_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'),
}


def prepare_processes(cfg: Config, launcher: str) -> None:
    """Let ``cfg`` start with ``launcher``, on CPU through gloo.

    With CUDA everything is left to MMEngine. Without it MMEngine would select a CUDA device before
    it joins the process group and hand that device to DistributedDataParallel, so both are done
    here: the group is joined (Runner keeps one that exists) and the model wrapper is told that
    there are no device ids.

    Args:
        cfg: Changed in place: ``launcher``, and on CPU the backend and ``model_wrapper_cfg``.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.

    Raises:
        ConfigError: The launcher's environment variables are missing.
    """
    cfg.launcher = launcher
    if launcher == 'none' or torch.cuda.is_available():
        return
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    if cfg.get('model_wrapper_cfg') is None:
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
    cfg.model_wrapper_cfg.device_ids = None
    if not distributed.is_initialized():
        _join_gloo_group(launcher)


def leave_processes() -> None:
    """End the process group once all processes are done.

    A process that exits while another still talks to it makes that one fail, after all its work.
    """
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def leave_interpreter() -> None:
    """End a process of several at once, with success.

    gloo's threads now and then abort Python's own way out, which torchrun would report as failure
    of a training that has ended well.
    """
    if any(variable in os.environ for variable, _ in _RANK_VARIABLES.values()):
        # Data workers, which Python would have ended on its own way out, stay for ever otherwise.
        for worker in multiprocessing.active_children():
            worker.terminate()
            worker.join()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _join_gloo_group(launcher: str) -> None:
    rank, world_size = _RANK_VARIABLES[launcher]
    if launcher == 'slurm':
        _find_slurm_master()
    needed = {'MASTER_ADDR', 'MASTER_PORT', rank, world_size}
    missing = sorted(needed - set(os.environ))
    if missing:
        raise ConfigError(
            f'--launcher {launcher} needs {", ".join(missing)} in the environment: start through '
            'tools/dist_train.sh, tools/slurm_train.sh or your own mpirun.'
        )
    distributed.init_process_group(
        'gloo', rank=int(os.environ[rank]), world_size=int(os.environ[world_size])
    )


def _find_slurm_master() -> None:
    """Meet on the first node of the job unless the environment says where, as MMEngine does."""
    os.environ.setdefault('MASTER_PORT', '29500')
    nodes = os.environ.get('SLURM_NODELIST')
    if nodes and 'MASTER_ADDR' not in os.environ:
        command = ['scontrol', 'show', 'hostnames', nodes]
        with suppress(OSError, subprocess.CalledProcessError):  # then it is missing, which is said
            shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            os.environ['MASTER_ADDR'] = shown.split()[0]
