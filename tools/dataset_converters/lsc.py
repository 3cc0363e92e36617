"""Convert the leaf segmentation challenge (A1 to A4, 810 images) to the layout of the configs."""

from mmcell.datasets.converter_command import converter_command
from mmcell.datasets.keypoint_layouts import lsc_layout


@converter_command(out='data/lsc', category='leaf')
def main(folder):
    """Convert the leaf segmentation challenge (A1 to A4, 810 annotated images).

    SOURCE is the training set of CVPPP 2017, as a zip or unpacked, with A1/plant001_rgb.png and
    A1/plant001_label.png, to A4. Of each folder a fifth is for validation, drawn by --seed; the
    split all_train holds all images, for a model that the challenge's server scores. Images are
    scored by folder as well.

    Images that cannot be converted are named, the others are written, and the exit code is 1. What
    differs from the published numbers and sizes of images is a warning.

    \b
    Example:
      python tools/dataset_converters/lsc.py CVPPP2017_LSC_training.zip --out data/lsc
    """  # noqa: D301  (click reads the backspace)
    return lsc_layout(folder)


if __name__ == '__main__':
    main()
