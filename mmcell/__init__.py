"""mmcell: biomedical instance segmentation on MMDetection."""

__version__ = '0.1.0'
