"""Convert the plant phenotyping data (leaves of Arabidopsis) to the layout of the configs."""

from mmcell.datasets.converter_command import converter_command
from mmcell.datasets.keypoint_layouts import plant_phenotyping_layout


@converter_command(out='data/plant_phenotyping', category='leaf')
def main(folder):
    """Convert the plant phenotyping data (leaves, 473 images of Arabidopsis).

    SOURCE is Plant_Phenotyping_Datasets (Minervini et al., 2016), as a zip or unpacked, with
    ara2012_plant001_rgb.png and ara2012_plant001_label.png and so on at any depth. 284 images are
    for training, 95 for validation, 94 for testing, drawn by --seed from those of Arabidopsis;
    --split-lists takes lists of names without _rgb, such as those of the authors.

    Images that cannot be converted are named, the others are written, and the exit code is 1. What
    differs from the published numbers of images is a warning.

    \b
    Example:
      python tools/dataset_converters/plant_phenotyping.py Plant_Phenotyping_Datasets.zip
    """  # noqa: D301  (click reads the backspace)
    return plant_phenotyping_layout(folder)


if __name__ == '__main__':
    main()
