"""Convert any folder of images with label maps to the layout of the configs."""

from mmcell.datasets.converter_command import converter_command
from mmcell.datasets.layouts import Layout, label_folder_entries


@converter_command(out='data/cells')
def main(folder):
    """Convert SOURCE, a folder (or zip of one) of images and label maps.

    Either images/x.tif and masks/x.tif, or x.tif and x_masks.tif side by side. A label map holds 0
    for background and a different integer for every object; TIFF, PNG or NPY, 8, 16 or 32 bits. An
    image without objects needs one too, all 0.

    Images that cannot be converted are named, the others are written, and the exit code is 1.

    \b
    Example:
      python tools/dataset_converters/label_folder.py my_cells --out data/my_cells
    """  # noqa: D301  (click reads the backspace)
    return Layout(label_folder_entries(folder))


if __name__ == '__main__':
    main()
