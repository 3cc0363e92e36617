"""Detection of objects by their center keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import CenterNetHead
from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmcell.functional.center_keypoints import center_targets, decode_centers
from mmcell.models.detection_limit import warn_at_limit
from mmcell.models.finite_maps import check_finite_maps


@MODELS.register_module()
class CenterKeypointHead(CenterNetHead):
    """MMDetection's ``CenterNetHead`` with the paper's targets, losses and decoding.

    Differs in that blobs keep the IoU exactly (sigma = radius / 3), sizes and offsets are read at
    the centers alone (smooth L1), all images are decoded at once, and boxes are those of the
    pixels: the center is the mean of an object's first and last pixel.

    With several classes each has a heatmap of its own; they share sizes and offsets.

    Args:
        in_channels: channels of the feature map.
        feat_channels: channels within each of the three branches.
        num_classes: heatmaps.
        stride: image pixels per pixel of the feature map.
        min_overlap: IoU that boxes at the rim of a blob have with the true box.
        published_radius: blobs as in the authors' program, 2.8 times as large: see
            :func:`~mmcell.functional.center_keypoints.center_targets`.
        loss_wh, loss_offset: configs of the losses; weights 0.1 and 1 are the authors' program's.
        **kwargs: as in MMDetection's ``CenterNetHead``; ``test_cfg`` needs ``max_per_img`` and
            ``score_thr`` (centers need a score above it).

    Source: Yi et al., IEEE TMI 2021, II-A, eq. 1 to 5.
    """

    def __init__(
        self,
        in_channels: int,
        feat_channels: int,
        num_classes: int,
        stride: int = 4,
        min_overlap: float = 0.7,
        published_radius: bool = False,
        loss_wh: dict | None = None,
        loss_offset: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            in_channels,
            feat_channels,
            num_classes,
            loss_wh=loss_wh or dict(type='SmoothL1Loss', beta=1.0, loss_weight=0.1),
            loss_offset=loss_offset or dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0),
            **kwargs,
        )
        self.stride, self.min_overlap, self.published_radius = stride, min_overlap, published_radius

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, H, W) features to heatmap probabilities, sizes and offsets, all float32.

        The last layers stay in float32 under autocast: in 16 bits neighbours of a peak would often
        equal it.
        """
        heatmap, sizes, offsets = (
            _last_in_float32(branch, x)
            for branch in (self.heatmap_head, self.wh_head, self.offset_head)
        )
        return heatmap.sigmoid(), sizes, offsets

    def loss_by_feat(
        self,
        heatmaps: list[Tensor],
        sizes: list[Tensor],
        offsets: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
    ) -> dict[str, Tensor]:
        """Losses of a batch: means over its objects, the last two also over both coordinates.

        Args:
            heatmaps: one tensor, from :meth:`forward`, as the next two.
            sizes: width and height.
            offsets: x and y.
            batch_gt_instances: ``bboxes`` in pixels of the padded batch, ``labels``.
            batch_img_metas: not used.
            batch_gt_instances_ignore: ``bboxes`` in which nothing counts as background.

        Returns:
            ``loss_center_heatmap``, ``loss_wh`` and ``loss_offset``.
        """
        (heatmap,), (size_map,), (offset_map,) = heatmaps, sizes, offsets
        counts = [len(instances) for instances in batch_gt_instances]
        batch_index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        targets = center_targets(
            pixel_index_boxes(torch.cat([instances.bboxes for instances in batch_gt_instances])),
            torch.cat([instances.labels for instances in batch_gt_instances]),
            batch_index.to(heatmap.device),
            tuple(heatmap.shape),
            self.stride,
            self.min_overlap,
            published=self.published_radius,
        )
        num_centers = max(len(targets.cells), 1)
        image, (x, y) = targets.batch_index, targets.cells.unbind(1)
        return {
            'loss_center_heatmap': self.loss_center_heatmap(
                heatmap,
                targets.heatmap,
                weight=self._counted(targets.heatmap, batch_gt_instances_ignore),
                avg_factor=num_centers,
            ),
            'loss_wh': self.loss_wh(
                size_map[image, :, y, x], targets.sizes, avg_factor=2 * num_centers
            ),
            'loss_offset': self.loss_offset(
                offset_map[image, :, y, x], targets.offsets, avg_factor=2 * num_centers
            ),
        }

    def _counted(self, target: Tensor, ignored: Sequence[InstanceData | None] | None) -> Tensor:
        """(B, C, H, W) 0 at cells in ignored boxes that are no center of an object, 1 elsewhere."""
        counted = torch.ones_like(target)
        y, x = (torch.arange(n, device=target.device) * self.stride for n in target.shape[2:])
        for weights, centers, instances in zip(
            counted, target == 1, ignored or [None] * len(target), strict=True
        ):
            if instances is None or len(instances) == 0:
                continue
            x1, y1, x2, y2 = pixel_index_boxes(instances.bboxes)[:, :, None].unbind(1)
            columns, rows = (x >= x1) & (x < x2), (y >= y1) & (y < y2)
            inside = (rows.T.float() @ columns.float()) > 0  # any of the boxes, none by itself
            weights.masked_fill_(inside & ~centers, 0)
        return counted

    def predict_by_feat(
        self,
        heatmaps: list[Tensor],
        sizes: list[Tensor],
        offsets: list[Tensor],
        batch_img_metas: list[dict],
        rescale: bool = True,
        with_nms: bool = True,
    ) -> list[InstanceData]:
        """Boxes of a batch, cut off at the border of their image, the best first.

        Args:
            heatmaps: one tensor, from :meth:`forward`, as the next two.
            sizes: width and height.
            offsets: x and y.
            batch_img_metas: ``img_shape`` and ``scale_factor`` of each image.
            rescale: give boxes in pixels of the original images.
            with_nms: not used: peaks are found by maximum pooling.

        Returns:
            ``bboxes``, ``scores``, ``labels`` of each image; without boxes that have no area in
            their image.

        Raises:
            ValueError: If the network gives NaN or infinite values.
        """
        check_finite_maps((heatmaps[0], sizes[0], offsets[0]), batch_img_metas)
        limit = self.test_cfg.max_per_img
        found = decode_centers(
            heatmaps[0], sizes[0], offsets[0], self.stride, limit, self.test_cfg.score_thr
        )
        results = []
        for image, img_meta in enumerate(batch_img_metas):
            mine = found.batch_index == image
            warn_at_limit(int(mine.sum()), limit, 'model.test_cfg.max_per_img', img_meta)
            height, width = img_meta['img_shape'][:2]
            boxes = found.boxes[mine] + 0.5
            boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height] * 2))
            instances = InstanceData(
                bboxes=boxes, scores=found.scores[mine], labels=found.labels[mine]
            )
            instances = instances[(boxes[:, 2:] > boxes[:, :2]).all(1)]
            if rescale:
                scale = boxes.new_tensor(img_meta['scale_factor']).repeat(2)
                instances.bboxes = instances.bboxes / scale
            results.append(instances)
        return results


def pixel_index_boxes(boxes: Tensor) -> Tensor:
    """Half-open boxes with whole numbers at the centers of pixels instead of their corners."""
    return boxes - 0.5


def _last_in_float32(branch: nn.Sequential, x: Tensor) -> Tensor:
    hidden = branch[:-1](x)
    with torch.autocast(x.device.type, enabled=False):
        return branch[-1](hidden.float())
