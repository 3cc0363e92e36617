"""Convert Cell17 (MICCAI 2017 nuclei segmentation challenge) to the layout of the configs."""

from mmcell.datasets.converter_command import converter_command
from mmcell.datasets.paper_layouts import cell17_layout


@converter_command(out='data/cell17')
def main(folder):
    """Convert Cell17 (64 images of the MICCAI 2017 nuclei segmentation challenge).

    SOURCE is a folder (or a zip of it) with image01.png, image01_mask.txt and so on, those for
    testing below a folder with "test" in its name. 28 images are for training, 4 for validation
    (one of each disease where folders are named by it; drawn by --seed), 32 for testing.

    Images that cannot be converted are named, the others are written, and the exit code is 1. What
    differs from the published numbers and sizes of images is a warning.

    \b
    Example:
      python tools/dataset_converters/cell17.py segmentation_2017 --out data/cell17
    """  # noqa: D301  (click reads the backspace)
    return cell17_layout(folder)


if __name__ == '__main__':
    main()
