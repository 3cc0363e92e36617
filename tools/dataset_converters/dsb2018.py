"""Convert the Data Science Bowl 2018 (BBBC038, stage1_train) to the layout of the configs."""

from mmcell.datasets.converter_command import converter_command
from mmcell.datasets.layouts import Layout, dsb2018_entries


@converter_command(out='data/dsb2018')
def main(folder):
    """Convert SOURCE, stage1_train.zip or the folder unpacked from it.

    Images that cannot be converted are named, the others are written, and the exit code is 1.

    \b
    Example:
      python tools/dataset_converters/dsb2018.py stage1_train.zip --out data/dsb2018
    """  # noqa: D301  (click reads the backspace)
    return Layout(dsb2018_entries(folder))


if __name__ == '__main__':
    main()
