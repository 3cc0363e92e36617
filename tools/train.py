"""Train a model: ``python tools/train.py configs/pffnet_dsb2018.py``."""

from __future__ import annotations

import argparse

from mmcell.engine.errors import plain_errors
from mmcell.engine.launch import leave_interpreter
from mmcell.engine.options import add_shared_options, export_local_rank
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
    add_shared_options(parser, example='train_cfg.max_iters=1000')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Train as the command line says."""
    args = parse_args(argv)
    export_local_rank(args)
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
