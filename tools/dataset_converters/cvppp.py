"""Convert CVPPP A1 (leaves, 128 annotated images) to the layout of the configs."""

from mmcell.datasets.converter_command import converter_command
from mmcell.datasets.paper_layouts import cvppp_layout


@converter_command(out='data/cvppp', category='leaf', folds=3)
def main(folder):
    """Convert CVPPP A1 (leaves, 128 annotated images).

    SOURCE is the training set of the leaf segmentation challenge, as a zip or unpacked, with
    A1/plant001_rgb.png and A1/plant001_label.png. 100 images are for training, 28 for validation
    (drawn by --seed); the folds of a cross-validation are of all 128.

    Images that cannot be converted are named, the others are written, and the exit code is 1. What
    differs from the published numbers and sizes of images is a warning.

    \b
    Example:
      python tools/dataset_converters/cvppp.py CVPPP2017_LSC_training.zip --out data/cvppp
    """  # noqa: D301  (click reads the backspace)
    return cvppp_layout(folder)


if __name__ == '__main__':
    main()
