"""Convert TNBC (50 images of 11 patients) to the layout of the configs."""

from mmcell.datasets.converter_command import converter_command
from mmcell.datasets.paper_layouts import tnbc_layout


@converter_command(out='data/tnbc', folds=3)
def main(folder):
    """Convert TNBC (50 images of 11 patients).

    SOURCE is TNBC_NucleiSegmentation.zip or the folder unpacked from it, with Slide_01 and GT_01 to
    Slide_11 and GT_11. 30 images of 6 patients are for training, 7 of 2 for validation, 13 of 3 for
    testing (Cell R-CNN V2); the folds of a cross-validation are by patient (PFFNet).

    Images that cannot be converted are named, the others are written, and the exit code is 1. What
    differs from the published numbers and sizes of images is a warning.

    \b
    Example:
      python tools/dataset_converters/tnbc.py TNBC_NucleiSegmentation.zip --out data/tnbc
    """  # noqa: D301  (click reads the backspace)
    return tnbc_layout(folder)


if __name__ == '__main__':
    main()
