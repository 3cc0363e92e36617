"""Convert a data set of the Cell Tracking Challenge (2D) to the layout of the configs."""

from mmcell.datasets.converter_command import converter_command
from mmcell.datasets.ctc_layout import ctc_layout


@converter_command(out='data/ctc_hela', category='cell')
def main(folder):
    """Convert a data set of the Cell Tracking Challenge, of two dimensions.

    SOURCE is a training set, such as Fluo-N2DL-HeLa.zip, or the folder unpacked from it, with the
    videos 01 and 02, their gold annotation 01_GT/SEG and silver annotation 01_ST/SEG. Video 01 is
    for training, 02 for validation (silver) and testing (gold, of which only SEG can be measured,
    because it leaves out cells). all_train is silver annotation of both videos; gold_train and
    all_gold_train are gold annotation with silver where there is none. A frame without annotation
    is not converted, since it is none without cells.

    Images that cannot be converted are named, the others are written, and the exit code is 1. What
    differs from the published numbers and sizes of images is a warning.

    \b
    Example:
      python tools/dataset_converters/ctc.py Fluo-N2DL-HeLa.zip --out data/ctc_hela
      python tools/dataset_converters/ctc.py PhC-C2DH-U373.zip --out data/ctc_u373
      python tools/dataset_converters/ctc.py PhC-C2DL-PSC.zip --out data/ctc_psc
    """  # noqa: D301  (click reads the backspace)
    return ctc_layout(folder)


if __name__ == '__main__':
    main()
