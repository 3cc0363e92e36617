"""Convert Kumar (TCGA, in the training set of MoNuSeg 2018) to the layout of the configs."""

from mmcell.datasets.converter_command import converter_command
from mmcell.datasets.paper_layouts import kumar_layout


@converter_command(out='data/kumar')
def main(folder):
    """Convert Kumar (30 images of TCGA, in the training set of MoNuSeg 2018).

    SOURCE is the zip "MoNuSeg 2018 Training Data" or any folder with its TIFF images (Tissue
    Images) and XML outlines (Annotations). 12 images are for training, 4 for validation (one of
    each organ, drawn by --seed) and 14 for testing; test images are scored by organ as well, and
    by whether training has seen it.

    Images that cannot be converted are named, the others are written, and the exit code is 1. What
    differs from the published numbers and sizes of images is a warning.

    \b
    Example:
      python tools/dataset_converters/kumar.py 'MoNuSeg 2018 Training Data.zip' --out data/kumar
    """  # noqa: D301  (click reads the backspace)
    return kumar_layout(folder)


if __name__ == '__main__':
    main()
