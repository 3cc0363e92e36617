"""Data structures that keep masks in their boxes."""

from mmcell.structures.found_objects import FoundObjects
from mmcell.structures.label_map_masks import LabelMapMasks
from mmcell.structures.roi_masks import RoiMasks

__all__ = ['FoundObjects', 'LabelMapMasks', 'RoiMasks']
