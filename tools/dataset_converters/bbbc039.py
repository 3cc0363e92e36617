"""Convert BBBC039 (200 fluorescence images) to the layout of the configs."""

from mmcell.datasets.converter_command import converter_command
from mmcell.datasets.paper_layouts import bbbc039_layout


@converter_command(out='data/bbbc039')
def main(folder):
    """Convert BBBC039 (200 fluorescence images).

    SOURCE is a folder with the unpacked images.zip, masks.zip and metadata.zip, whose lists make
    the split: 100 images for training, 50 for validation, 50 for testing.

    Images that cannot be converted are named, the others are written, and the exit code is 1. What
    differs from the published numbers and sizes of images is a warning.

    \b
    Example:
      python tools/dataset_converters/bbbc039.py BBBC039 --out data/bbbc039
    """  # noqa: D301  (click reads the backspace)
    return bbbc039_layout(folder)


if __name__ == '__main__':
    main()
