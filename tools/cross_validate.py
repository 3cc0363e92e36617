"""Cross-validate a model: ``python tools/cross_validate.py configs/pffnet_tnbc.py --folds 3``."""

from __future__ import annotations

import argparse

from mmcell.engine.cross_validation import cross_validate
from mmcell.engine.errors import plain_errors
from mmcell.engine.options import add_config_options


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Train and test a model on every fold, and summarize the scores of all images. '
        'A finished fold is not done again, an interrupted training goes on.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--folds', type=int, default=3, help='as the data set was converted with (%(default)s)'
    )
    parser.add_argument('--work-dir', help='where everything goes (work_dirs/CONFIG_cvFOLDS)')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument(
        '--processes', type=int, default=1, help='of each training and test, one per GPU'
    )
    add_config_options(parser, 'train_cfg.max_iters=1000')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Cross-validate as the command line says."""
    args = parse_args(argv)
    with plain_errors():
        cross_validate(
            args.config,
            args.folds,
            work_dir=args.work_dir,
            overrides=args.cfg_options,
            amp=args.amp,
            processes=args.processes,
        )


if __name__ == '__main__':
    main()
