"""Command line options that training and testing share, with MMDetection's names."""

from __future__ import annotations

import argparse
import os

from mmengine.config import DictAction


def add_shared_options(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``--cfg-options``, ``--launcher`` and ``--local_rank``.

    Args:
        parser: changed in place.
        example: a ``KEY=VALUE`` for the help of ``--cfg-options``.
    """
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help=f'change the config, for example {example} "key=[a,b]"',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def export_local_rank(args: argparse.Namespace) -> None:
    """Put ``--local_rank`` where MMEngine reads it, unless the launcher has done so."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
