"""Score a checkpoint: ``python tools/test.py configs/pffnet_dsb2018.py CHECKPOINT``."""

from __future__ import annotations

import argparse

from mmcell.engine.errors import plain_errors
from mmcell.engine.launch import leave_interpreter
from mmcell.engine.options import add_shared_options, export_local_rank
from mmcell.engine.run import test


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; the options are those of MMDetection."""
    parser = argparse.ArgumentParser(description='Score a checkpoint on the test data')
    parser.add_argument('config', help='the config that the checkpoint was trained with')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='where the scores go (work_dirs/CONFIG)')
    parser.add_argument('--out', metavar='FILE.pkl', help='write the predictions, masks as RLE')
    parser.add_argument(
        '--show-dir', help='draw the predictions into this folder below WORK_DIR/START_TIME'
    )
    parser.add_argument(
        '--timing', action='store_true', help='measure speed and memory, into timing.json'
    )
    add_shared_options(parser, example='test_dataloader.dataset.ann_file=FILE')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Test as the command line says."""
    args = parse_args(argv)
    export_local_rank(args)
    with plain_errors():
        test(
            args.config,
            args.checkpoint,
            work_dir=args.work_dir,
            overrides=args.cfg_options,
            out=args.out,
            show_dir=args.show_dir,
            timing=args.timing,
            launcher=args.launcher,
        )


if __name__ == '__main__':
    main()
    leave_interpreter()
