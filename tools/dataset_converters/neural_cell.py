"""Convert the neural cells (644 gray images) to the layout of the configs."""

from mmcell.datasets.converter_command import converter_command
from mmcell.datasets.keypoint_layouts import neural_cell_layout


@converter_command(out='data/neural_cell', category='cell')
def main(folder):
    """Convert the neural cells (644 gray images of rat CNS stem cells).

    SOURCE is a folder, or a zip of it, with gray images of 512 x 640 and their annotation of equal
    names in a folder mask: cells painted in a colour each, or a label map. 386 images are for
    training, 129 for validation, 129 for testing: those in folders train, val and test, else drawn
    by --seed.

    Images that cannot be converted are named, the others are written, and the exit code is 1. What
    differs from the published numbers and sizes of images is a warning.

    \b
    Example:
      python tools/dataset_converters/neural_cell.py neural --out data/neural_cell
    """  # noqa: D301  (click reads the backspace)
    return neural_cell_layout(folder)


if __name__ == '__main__':
    main()
