"""Draw training curves: ``python tools/analysis/plot_curves.py WORK_DIR... --out curves.png``."""

from __future__ import annotations

import argparse

from mmcell.engine.curves import draw_curves, read_curves


def main(argv: list[str] | None = None) -> None:
    """Draw one run, or several against each other."""
    parser = argparse.ArgumentParser(description='Draw training curves from what was logged')
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR')
    parser.add_argument('--out', default='curves.png', help='the picture (%(default)s)')
    args = parser.parse_args(argv)
    try:
        draw_curves([read_curves(folder) for folder in args.work_dirs], args.out)
    except ValueError as error:
        parser.error(str(error))


if __name__ == '__main__':
    main()
