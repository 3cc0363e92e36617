"""Train a model: ``python tools/train.py configs/pffnet_dsb2018.py``."""

from __future__ import annotations

import argparse
import os

from mmengine.config import DictAction

from mmcell.engine.errors import plain_errors
from mmcell.engine.launch import leave_interpreter
from mmcell.engine.run import train


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; the options are those of MMDetection."""
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='where checkpoints and logs go (work_dirs/CONFIG)')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate to the total batch size',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; alone: from the last one in the work directory, if any',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change the config, for example train_cfg.max_iters=1000 "key=[a,b]"',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Train as the command line says."""
    args = parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))  # MMEngine reads it from there
    with plain_errors():
        train(
            args.config,
            work_dir=args.work_dir,
            overrides=args.cfg_options,
            amp=args.amp,
            auto_scale_lr=args.auto_scale_lr,
            resume=args.resume,
            launcher=args.launcher,
        )


if __name__ == '__main__':
    main()
    leave_interpreter()
