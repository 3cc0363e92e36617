"""Masks in the boxes of a keypoint graph detector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from torch import Tensor

from mmcell.functional.keypoint_graph_targets import label_boxes
from mmcell.functional.ragged_rois import PaddedRois, crop_pixels, pixel_levels, unpad_rois
from mmcell.models.keypoint_heads.object_guided_mask_head import mean_loss
from mmcell.models.keypoint_heads.roi_segmentation import RoiSegmentationBranch, roi_cross_entropy


@MODELS.register_module()
class KeypointGraphMaskHead(RoiSegmentationBranch):
    """Crops of whole pixels, joined from coarse to fine; a single level is segmented as it is.

    Trained in the true boxes of the objects. Arguments as in
    :class:`~mmcell.models.keypoint_heads.roi_segmentation.RoiSegmentationBranch`.

    Source: Yi et al., MICCAI 2019, 2.2.
    """

    def loss(self, features: Sequence[Tensor], label_maps: Tensor) -> dict[str, Tensor]:
        """Cross entropy in the boxes of all objects, each box counting the same.

        Args:
            features: (B, C_l, H_l, W_l) levels, finest first.
            label_maps: (B, H, W) integers at the size of level 0; 0 is background. Objects with a
                side of one pixel have no level to be segmented on.

        Returns:
            ``loss_mask``.
        """
        objects = label_boxes(label_maps)
        levels = pixel_levels(objects.boxes.float(), _sizes(features))
        losses = []
        for members, logits, _ in self(
            _channels_last(features), levels, objects.batch_index, crop_pixels
        ):
            labels = crop_pixels(
                label_maps[:, None],
                levels.boxes[members, 0],
                levels.sizes[members, 0],
                objects.batch_index[members],
            ).values
            inside = labels == objects.ids[members, None, None, None]
            losses.append(roi_cross_entropy(logits, PaddedRois(inside.float(), logits.sizes)))
        return {'loss_mask': mean_loss(losses, self)}

    def predict_masks(
        self, features: Sequence[Tensor], boxes: Tensor, batch_index: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Segment boxes.

        Args:
            features: levels, finest first.
            boxes: (N, 4), x1, y1, x2, y2 in pixels of level 0.
            batch_index: (N,) int64, image of each box.

        Returns:
            The boxes (N, 4) in whole pixels, and one (h, w) tensor of probabilities for each, of
            just as many pixels; both are empty for boxes with a side below 2.
        """
        levels = pixel_levels(boxes, _sizes(features))
        parts = [
            (members, PaddedRois(logits.values.sigmoid(), logits.sizes))
            for members, logits, _ in self(
                _channels_last(features), levels, batch_index, crop_pixels
            )
        ]
        probs = [mask.flatten(0, 1) for mask in unpad_rois(parts, len(boxes))]
        return levels.boxes[:, 0].float(), probs


def _sizes(features: Sequence[Tensor]) -> list[tuple[int, int]]:
    return [(level.shape[2], level.shape[3]) for level in features]


def _channels_last(features: Sequence[Tensor]) -> list[Tensor]:
    """In the layout that pixels are cut out of without a copy of the map."""
    return [level.contiguous(memory_format=torch.channels_last) for level in features]
