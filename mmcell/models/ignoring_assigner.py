"""Assignment of boxes to objects that leaves ignored regions out of the background."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.task_modules.assigners import AssignResult, MaxIoUAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from mmcell.structures.label_map_masks import gt_label_map


@TASK_UTILS.register_module()
class IgnoringMaxIoUAssigner(MaxIoUAssigner):
    """MaxIoUAssigner for images with regions to be ignored (COCO's iscrowd).

    A box that would be background, but lies in such a region by more than ``ignore_iof_thr`` of its
    pixels, is neither. Boxes of objects stay what they are, also inside a region, from which the
    parent would take them. Where the regions have masks these count, not their boxes: one crowd
    may be strewn over a whole image.

    Args:
        **kwargs: as for :class:`mmdet.models.task_modules.MaxIoUAssigner`.
    """

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs: Any,
    ) -> AssignResult:
        """As in the parent; ``gt_instances_ignore`` has ``bboxes`` and, if known, ``masks``."""
        result = super().assign(pred_instances, gt_instances, **kwargs)
        if self.ignore_iof_thr > 0 and gt_instances_ignore is not None and len(gt_instances_ignore):
            share = self._ignored_share(pred_instances.priors, gt_instances_ignore)
            result.gt_inds[(share > self.ignore_iof_thr) & (result.gt_inds == 0)] = -1
        return result

    def _ignored_share(self, priors: Tensor, ignored: InstanceData) -> Tensor:
        """(N,) how much of each box lies in ignored regions."""
        if 'masks' not in ignored:
            return self.iou_calculator(priors, ignored.bboxes, mode='iof').amax(1)
        # Sums of pixels above and left of each corner: a box is four of them.
        inside = torch.zeros(ignored.masks.height + 1, ignored.masks.width + 1)
        inside[1:, 1:] = torch.from_numpy(gt_label_map(ignored.masks) > 0)
        sums = inside.double().cumsum(0).cumsum(1).to(priors.device)
        limit = priors.new_tensor([ignored.masks.width, ignored.masks.height] * 2)
        x1, y1, x2, y2 = priors.round().clamp(min=0).minimum(limit).long().unbind(1)
        pixels = sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1]
        return pixels / ((x2 - x1) * (y2 - y1)).clamp(min=1)
