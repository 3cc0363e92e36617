"""Convert CPM17 (64 images) as HoVer-Net's authors distribute it to the layout of the configs."""

from mmcell.datasets.converter_command import converter_command
from mmcell.datasets.paper_layouts import cpm17_layout


@converter_command(out='data/cpm17')
def main(folder):
    """Convert CPM17 (64 images) as HoVer-Net's authors distribute it.

    SOURCE is the folder cpm17 (or a zip of it) with train and test, each with Images and Labels.
    The 32 training and the 32 test images keep their split.

    Images that cannot be converted are named, the others are written, and the exit code is 1. What
    differs from the published numbers and sizes of images is a warning.

    \b
    Example:
      python tools/dataset_converters/cpm17.py cpm17 --out data/cpm17
    """  # noqa: D301  (click reads the backspace)
    return cpm17_layout(folder)


if __name__ == '__main__':
    main()
